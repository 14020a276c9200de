import json
import threading
from datetime import date
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from runway_streams.demo.api_client import ApiClient, NotYet
from runway_streams.errors import DependencyDown, RunwayError

START, END = date(2013, 4, 1), date(2013, 5, 1)


class Answers(BaseHTTPRequestHandler):
    """Answers each model by its name: a status, or 200 and the query as it came."""

    def do_GET(self):
        url = urlsplit(self.path)
        model = url.path.split("/")[3]
        self.send_response(int(model) if model.isdigit() else 200)
        self.end_headers()
        self.wfile.write(
            json.dumps({"model_id": model, "query": parse_qs(url.query), "key": self.headers["Authorization"]}).encode()
        )

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def api():
    server = HTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_what_is_asked(api):
    answer = ApiClient(api, "key").performance("m", START, END, carrier="UA", view="speed")
    assert answer["key"] == "Bearer key"
    assert answer["query"] == {
        "start": ["2013-04-01T00:00:00Z"],
        "end": ["2013-05-02T00:00:00Z"],
        "granularity": ["P1D"],
        "view": ["speed"],
        "segment": ["carrier:UA"],
    }


@pytest.mark.parametrize("status", ["404", "503"])
def test_a_model_not_seen_yet(api, status):
    with pytest.raises(NotYet, match=status):
        ApiClient(api, "key").performance(status, START, END)


def test_another_status_is_an_error(api):
    with pytest.raises(RunwayError, match="answers 400") as caught:
        ApiClient(api, "key").performance("400", START, END)
    assert not isinstance(caught.value, NotYet)


def test_an_api_that_is_down():
    with pytest.raises(DependencyDown, match="does not answer"):
        ApiClient("http://127.0.0.1:9", "key").performance("m", START, END)
