"""A run knows the network that drew it by its weights and answers, whatever file it came from."""

import dataclasses
import functools
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import own
import pytest
import torch
from test_cli import call  # noqa: F401, a fixture
from torch.distributed import HashStore
from toy import Toy

import seeds
from seeds.distributed import Group
from seeds.modules import modules
from seeds.runs import Identity, Job
from seeds.runs.identity import check_agreed
from seeds.runs.records import different

PLAN = seeds.plan("seeds-1", steps=2, schedule="vp")
FEW = ("--seeds", "0-3", "--nfe", "1", "--batch", "2")


def known(denoiser, **given):
    return Identity.from_facts(json.loads(json.dumps(Identity.of(denoiser, **given).facts())))


def test_one_network_is_itself_and_another_is_not():
    one = known(own.wrapped(1))
    assert one.apart(known(own.wrapped(1))) == "" and one.weights
    assert one.apart(known(own.wrapped(2))).startswith(f"another network: weights {one.weights[:12]}, now weights ")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: lambda x, t, labels=None: net(x, t),
        lambda net: functools.partial(net.forward),
        lambda net: {"a": [net]}.get("a")[0],
    ],
)
def test_weights_are_found_in_closures_partials_and_attributes(wrap):
    net = own.Net(3)
    model = seeds.guide(dataclasses.replace(own.wrapped(), network=wrap(net)), 2.0)
    assert modules(model) == [net]


def test_the_smallest_change_of_a_weight_is_another_network():
    model = own.wrapped(3)
    before = known(model)
    with torch.no_grad():
        model.network.c.bias[1] += 1e-6
    assert "weights" in before.apart(known(model))


def test_buffers_count():
    first, second = own.latent(), own.latent()
    assert known(first, decode=first.decode) == known(second, decode=second.decode)
    second.decoder.mix[0, 0] += 1e-3
    assert "weights" in known(first, decode=first.decode).apart(known(second, decode=second.decode))


@pytest.mark.parametrize(
    ("factor", "same"), [(1.0, True), (1 + 2e-4, True), (1.005, False), (-1.0, False), (float("nan"), False)]
)
def test_callables_are_known_by_their_answers_to_a_thousandth(factor, same):
    words = known(Toy()).apart(known(Toy(lambda number, x: x * factor)))
    assert (words == "") == same and (same or words.startswith("another network: its answers to fixed probes differ"))


@pytest.mark.parametrize("change", [{"output": "noise"}, {"schedule": "edm"}, {"output": "v"}], ids=str)
def test_the_same_weights_read_otherwise_are_another_network(change):
    assert "answers" in known(own.wrapped(1)).apart(known(own.wrapped(1, **change)))


def test_each_class_counts_and_a_network_is_asked_on_levels_that_it_knows():
    seen = []
    model = Toy(classes=10, nsr_range=(0.5, 2.0), round_nsr=lambda nsr: seen.append(nsr) or nsr)
    Identity.of(model)
    assert [labels.tolist() for labels in model.labels] == [[0, 3, 6, 9]] * 3 + [[0, 3]]
    assert [nsr.tolist() for nsr in seen] == [[0.5, 1.0, 2.0]]


def test_a_network_that_is_random_though_it_is_in_eval_mode_is_refused_before_the_first_image(call):  # noqa: F811
    generator = torch.Generator().manual_seed(0)
    noisy = Toy(lambda number, x: x + torch.randn(x.shape, generator=generator))
    mixing = Toy(lambda number, x: x - x.mean(0))
    for model in (noisy, mixing):
        with pytest.raises(ValueError, match="The denoiser answers the same question differently"):
            Identity.of(model)
    assert Identity.of(Toy()).answers
    own.random_answers = lambda: noisy
    code, _, err = call("sample", "--model", "own:random_answers", "--out", "out", *FEW)
    assert code == 2 and "answers the same question differently" in err and not Path("out").exists()


def test_a_network_left_in_training_mode_is_named_as_that_on_the_command_line(call):  # noqa: F811
    dropout = torch.nn.Sequential(torch.nn.Dropout(0.5))
    own.trained = lambda: seeds.wrap(lambda x, t: dropout(x), "data", schedule="vp", shape=(1, 8, 8))
    code, _, err = call("sample", "--model", "own:trained", "--out", "out", *FEW)
    assert (
        code == 2
        and "(its part '0', a Dropout) is in training mode" in err
        and "`network.eval()`" in err
        and not Path("out").exists()
    )


class Scheduleless:
    """A denoiser without a schedule that notes where it is asked, and answers what it is told to."""

    shape = (1, 2, 2)

    def __init__(self, answer=None):
        self.points, self.answer = [], answer

    def __call__(self, x, at):
        self.points.append(at)
        return 0 * x if self.answer is None else self.answer


def test_a_model_without_a_schedule_is_asked_on_the_plans_levels():
    model = Scheduleless()
    assert Job(model, PLAN, (0, 1)).network.answers and set(model.points) <= set(PLAN.points())


def test_records_of_before_are_asked_for_the_file_alone():
    now = {"model": "a", "model_sha256": "b", "network": known(Toy()).facts(), "data_range": [-1.0, 1.0]}
    assert different({"model": "a", "model_sha256": "b"}, now) == []
    assert different({"model": "a", "model_sha256": "c"}, now) == ["model_sha256 'c', now 'b'"]
    assert different(now | {"model": "x", "model_sha256": "y"}, now) == []
    with pytest.raises(ValueError, match="of a record is no network"):
        different(now | {"network": {"answers": 3}}, now)


@pytest.mark.parametrize("answer", ["text", torch.zeros(1)])
def test_an_answer_that_is_none_is_named(answer):
    with pytest.raises(ValueError, match="A denoiser's answer has the shape of x"):
        known(Scheduleless(answer), levels=PLAN.points()[:1])


def test_another_network_is_not_resumed_on_the_command_line(call):  # noqa: F811
    torch.save(own.Net(1).state_dict(), "latest.pt")
    Path("factor.txt").write_text("1.0")
    for model in ("own:wrapped", "own:from_file", "own:from_number", "own:random"):
        assert call("sample", "--model", model, "--out", model[4:], *FEW)[0] == 0
        (Path(model[4:]) / "000003.png").unlink()
    torch.save(own.Net(2).state_dict(), "latest.pt")
    Path("factor.txt").write_text("1.01")
    for model, words in (
        ("own:from_file", "holds another run: it has another network: weights "),
        (
            "own:from_number",
            "holds another run: it has another network: its answers to fixed probes differ by 0.023 of their size",
        ),
        ("own:random", "holds another run: it has another network: weights "),
    ):
        code, _, err = call("sample", "--model", model, "--out", model[4:], *FEW, "--resume")
        assert code == 2 and words in err and not (Path(model[4:]) / "000003.png").exists()
    assert call("sample", "--model", "own:wrapped", "--out", "wrapped", *FEW, "--resume")[0] == 0


@pytest.mark.parametrize("second", [1, 2])
def test_processes_that_draw_with_different_networks_are_refused(second):
    store, models = HashStore(), (own.wrapped(1), own.wrapped(second))

    def agreed(rank):
        try:
            check_agreed(Identity.of(models[rank]), Group(rank, 2, store=store))
        except ValueError as error:
            return str(error)
        return ""

    with ThreadPoolExecutor(2) as processes:
        first, other = processes.map(agreed, (0, 1))
    assert first == "" and (other == "") == (second == 1)
    assert not other or other.startswith(
        "The processes draw with different networks; process 1 has another network: weights"
    )
