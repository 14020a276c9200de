"""The plan: steps that lead from any registry to any files, and none where they agree."""

from dataclasses import replace

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from runway_streams.cli.manifests import Desired, Wanted
from runway_streams.cli.plan import Current, CurrentModel, FieldChange, Tagged, make_plan
from schemas.model import Link, Model
from schemas.policy import AgeSignal, Policy, RetrainPolicy, StalenessPolicy
from schemas.rules import Rule, RuleSet


def policy(enter=0.7, priority=50):
    return Policy(StalenessPolicy(age=AgeSignal(1, "P7D", "P30D"), enter=enter), RetrainPolicy(priority=priority))


def rule(name, when="metrics.mae <= 5"):
    return Rule(name, "evaluation", "staging", when)


def plan(wanted, there=None, **defaults):
    """The steps for one model."""
    name = wanted.model.model_id
    return make_plan(Current({name: there} if there else {}), Desired({name: wanted}))


def changes(step):
    return {each.field: (each.before, each.after) for each in step.changes}


def test_a_new_model_is_made_first_and_then_what_is_below_it():
    steps = plan(Wanted(Model("m", name="m", owner="risk"), policy(), RuleSet([rule("good")])))
    assert [(step.action, step.what, step.method, step.path, step.tag) for step in steps] == [
        ("create", "model", "POST", "/v1/models", None),
        ("create", "policy", "PUT", "/v1/models/m/policy", '"0"'),
        ("create", "rules", "PUT", "/v1/models/m/rules", '"0"'),
    ]
    assert changes(steps[0]) == {"name": (None, "m"), "owner": (None, "risk")}
    assert changes(steps[1])["retrain.priority"] == (None, 50)


def test_only_what_differs_of_a_model_is_sent_for_the_revision_that_was_read():
    there = CurrentModel(Model("m", name="m", owner="risk", flow="Flow", threshold=0.7), '"4"')
    [step] = plan(Wanted(Model("m", name="m", owner="fin", threshold=0.7)), there)
    assert (step.action, step.method, step.path, step.tag) == ("change", "PATCH", "/v1/models/m", '"4"')
    # What a document leaves out has its default again.
    assert step.document == {"owner": "fin", "flow": None}
    assert step.changes == (FieldChange("owner", "risk", "fin"), FieldChange("flow", "Flow", None))


def test_a_model_that_was_only_seen_is_registered():
    [step] = plan(Wanted(Model("m", name="m")), CurrentModel(None, '"0"'))
    assert (step.action, step.method) == ("create", "POST")


def test_an_archived_model_that_stands_in_a_file_comes_back():
    [step] = plan(Wanted(Model("m", name="m")), CurrentModel(Model("m", name="m"), '"2"', archived=True))
    assert (step.document, changes(step)) == ({"archived": False}, {"archived": (True, False)})


def test_policy_and_rules_that_no_file_names_are_left_alone():
    model = Model("m", name="m")
    there = CurrentModel(model, '"1"', policy=Tagged(policy(), '"3"'), rules=Tagged(RuleSet([rule("a")]), '"2"'))
    assert plan(Wanted(model), there) == []
    taken = plan(Wanted(model, None, RuleSet([])), there)
    assert [(step.action, step.what, step.method, step.tag) for step in taken] == [
        ("delete", "policy", "DELETE", '"3"'),
        ("delete", "rules", "PUT", '"2"'),
    ]


def test_changes_of_a_policy_and_of_rules_name_what_differs():
    model = Model("m", name="m")
    there = CurrentModel(model, '"1"', policy=Tagged(policy(), '"3"'), rules=Tagged(RuleSet([rule("a"), rule("b")]), '"2"'))
    of_policy, of_rules = plan(Wanted(model, policy(0.8), RuleSet([rule("a", "metrics.mae <= 4"), rule("c")])), there)
    assert changes(of_policy) == {"staleness.enter": (0.7, 0.8)}
    assert list(changes(of_rules)) == ["a", "b", "c"]
    assert changes(of_rules)["b"][1] is None
    [order] = plan(Wanted(model, UNSET, RuleSet([rule("b"), rule("a")])), there)
    assert changes(order) == {"order": (["a", "b"], ["b", "a"])}


def test_defaults_come_before_the_models_that_they_are_for():
    desired = Desired({"m": Wanted(Model("m", name="m"))}, {("teams", "card risk"): policy(), ("tasks", "binary"): None})
    current = Current(defaults={("tasks", "binary"): Tagged(policy(), '"7"')})
    assert [(step.action, step.name, step.path, step.tag) for step in make_plan(current, desired)] == [
        ("create", "teams/card risk", "/v1/policies/teams/card%20risk", '"0"'),
        ("delete", "tasks/binary", "/v1/policies/tasks/binary", '"7"'),
        ("create", "m", "/v1/models", None),
    ]


models = st.builds(
    Model,
    st.just("m"),
    name=st.sampled_from(["m", "Model"]),
    owner=st.sampled_from(["", "risk"]),
    tags=st.lists(st.sampled_from("ab"), max_size=2),
    flow=st.sampled_from([None, "Flow"]),
    links=st.lists(st.builds(Link, st.sampled_from("xy"), st.just("http://a")), max_size=2),
    threshold=st.sampled_from([0.5, 0.7]),
)
policies = st.none() | st.builds(policy, st.sampled_from([0.7, 0.8]), st.sampled_from([1, 50]))
rulesets = st.builds(RuleSet, st.lists(st.builds(rule, st.sampled_from("abc")), max_size=3, unique_by=lambda r: r.name))


@given(
    there=st.builds(
        CurrentModel,
        st.none() | models,
        archived=st.booleans(),
        policy=st.builds(Tagged, policies),
        rules=st.builds(Tagged, rulesets),
    ),
    wanted=st.builds(Wanted, models, st.just(UNSET) | policies, st.just(UNSET) | rulesets),
)
def test_what_the_steps_lead_to_needs_no_step(there, wanted):
    for step in plan(wanted, there):
        if step.what == "model" and step.method == "POST":
            there = replace(there, model=step.document, archived=False)
        elif step.what == "model":
            patch = dict(step.document)
            archived = patch.pop("archived", there.archived)
            model = msgspec.convert(msgspec.to_builtins(there.model) | patch, Model)
            there = replace(there, model=model, archived=archived)
        else:
            there = replace(there, **{step.what: Tagged(step.document, '"9"')})
    assert plan(wanted, there) == []
    assert there.model == wanted.model
    assert not there.archived
