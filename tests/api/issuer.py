"""An identity provider on this machine: real HTTP, real RSA and EC keys."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm


class Issuer:
    """`keys` by kid; what it publishes can be changed, it can be stopped and started on its port again."""

    def __init__(self, now):
        self.now = now
        self.keys = {"rsa-1": rsa.generate_private_key(65537, 2048), "ec-1": ec.generate_private_key(ec.SECP256R1())}
        self.asked, self.answers = [], {}
        self.port = 0
        self.start()

    def start(self):
        handler = type("Handler", (Handler,), {"issuer": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/realms/ml"

    def jwk(self, kid):
        key = self.keys[kid].public_key()
        algorithm = RSAAlgorithm if isinstance(key, rsa.RSAPublicKey) else ECAlgorithm
        return {**algorithm.to_jwk(key, as_dict=True), "kid": kid, "use": "sig"}

    def documents(self):
        found = {
            "/realms/ml/.well-known/openid-configuration": {"issuer": self.url, "jwks_uri": f"{self.url}/certs"},
            "/realms/ml/certs": {"keys": [self.jwk(kid) for kid in self.keys]},
        }
        return {**{path: json.dumps(document).encode() for path, document in found.items()}, **self.answers}

    def claims(self, **changed):
        now = self.now() // 1000
        claims = {"iss": self.url, "aud": "runway", "sub": "ada", "iat": now, "exp": now + 300, "runway_role": "reader"}
        return {name: value for name, value in {**claims, **changed}.items() if value is not None}

    def token(self, kid="rsa-1", *, key=None, algorithm=None, header=None, **changed):
        key = self.keys[kid] if key is None else key
        algorithm = algorithm or ("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
        return jwt.encode(self.claims(**changed), key, algorithm, {"kid": kid} if header is None else header)


class Handler(BaseHTTPRequestHandler):
    issuer: Issuer

    def do_GET(self):
        self.issuer.asked.append(self.path)
        body = self.issuer.documents().get(self.path)
        self.send_response(404 if body is None else 200)
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_):
        pass
