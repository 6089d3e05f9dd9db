"""Predicted memory: hand-worked bytes, torch's own allocator, and a model left as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from convatlas.analysis.allocator import measure_peak
from convatlas.analysis.memory import TrainingMemory, max_batch, predict_memory
from convatlas.errors import ConvAtlasError, OptionError
from convatlas.layers.checkpointing import blocks_of, checkpointed
from convatlas.models.registry import create_model


def _measured(model, image, optimizer, *, half):
    """Return the peak of torch's allocator over two steps, or over one forward."""
    held = [*model.parameters(), *model.buffers(), image]

    def run():
        for _ in range(2 if optimizer else 1):
            with (
                torch.set_grad_enabled(optimizer is not None),
                torch.autocast("cpu", torch.bfloat16, enabled=half),
            ):
                output = model(image)
            if optimizer:
                output.float().mean().backward()
                del output
                optimizer.step()
                optimizer.zero_grad()

    return sum(tensor.numel() * tensor.element_size() for tensor in held) + measure_peak(run)


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["inference", "momentum", "adamw", "frozen"])
@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_050", "squeezenet1_1"])
def test_the_peak_is_what_torch_allocates(name, kind, half):
    model = create_model(name, num_classes=10).train(kind != "inference")
    if kind == "frozen":
        model.stages.requires_grad_(False)
        model.stem.requires_grad_(False)
    trained = [p for p in model.parameters() if p.requires_grad]
    adamw = kind == "adamw"
    optimizer = None
    if kind != "inference":
        make = torch.optim.AdamW if adamw else torch.optim.SGD
        optimizer = make(trained, lr=1e-5, **({} if adamw else {"momentum": 0.9}))
    predicted = predict_memory(
        model,
        96,
        batch=2,
        precision="bfloat16" if half else "float32",
        training=TrainingMemory("adamw" if adamw else "momentum") if optimizer else None,
    )
    peak = _measured(model, torch.randn(2, 3, 96, 96), optimizer, half=half)
    assert predicted.peak_bytes == pytest.approx(peak, rel=0.06)


def test_a_chain_of_activations_by_hand():
    """Of three layers in a row, the input of the running one and its output are held."""
    model = nn.Sequential(nn.ReLU(), nn.Sigmoid(), nn.Tanh())
    report = predict_memory(model, inputs=[torch.empty(1, 4, 8, 8)])
    image = 4 * 4 * 8 * 8
    # The caller holds the image; Sequential holds the input of each layer until it returns.
    assert report.peak_bytes == 3 * image
    assert report.input_bytes == image
    assert report.parameter_bytes == 0
    assert report.activation_bytes == 2 * image


def test_a_skip_connection_is_held_as_long_as_it_is_needed():
    class Skip(nn.Module):
        def forward(self, x):
            y = x * 2
            z = y.exp()
            z = z.exp()
            return y + z

    report = predict_memory(Skip(), inputs=[torch.empty(256)])
    assert report.peak_bytes == 4 * 1024  # x, y, the old and the new z; then x, y, z and the sum
    assert [moment.held_bytes for moment in report.timeline] == [4 * 1024]


def test_weights_gradients_and_optimizer_are_multiples_of_the_parameters():
    model = nn.Linear(10, 100)
    parameters = 4 * 1100
    for optimizer, kept in [("sgd", 0), ("momentum", 1), ("adam", 2), ("adamw", 2)]:
        training = TrainingMemory(optimizer, ema=True)
        report = predict_memory(model, inputs=[torch.empty(2, 10)], training=training)
        assert report.parameter_bytes == report.gradient_bytes == report.ema_bytes == parameters
        assert report.optimizer_bytes == kept * parameters
        assert report.peak_bytes >= (3 + kept) * parameters


def test_frozen_parameters_need_no_gradient_and_no_state():
    model = create_model("resnet18")
    whole = predict_memory(model, 160, batch=4, training=TrainingMemory("adamw"))
    model.stages.requires_grad_(False)
    model.stem.requires_grad_(False)
    frozen = predict_memory(model, 160, batch=4, training=TrainingMemory("adamw"))
    head = 4 * sum(p.numel() for p in model.head.parameters())
    assert frozen.gradient_bytes == head
    assert frozen.optimizer_bytes == 2 * head
    assert frozen.activation_bytes < whole.activation_bytes / 2


def test_half_precision_and_checkpointing_save_activations():
    model = create_model("resnet50")
    plain = predict_memory(model, 128, batch=4, training=TrainingMemory())
    half = predict_memory(model, 128, batch=4, training=TrainingMemory(), precision="bfloat16")
    forgetful = predict_memory(model, 128, batch=4, training=TrainingMemory(checkpointing=True))
    assert half.activation_bytes < 0.7 * plain.activation_bytes
    assert forgetful.activation_bytes < 0.5 * plain.activation_bytes
    assert half.optimizer_bytes == plain.optimizer_bytes == forgetful.optimizer_bytes


def test_on_a_gpu_storages_are_rounded_and_no_image_is_copied_into_blocks():
    model = nn.Sequential(nn.ReLU(), nn.Sigmoid(), nn.Tanh())
    report = predict_memory(model, inputs=[torch.empty(1, 1, 10, 10)], device="cuda")
    assert report.peak_bytes == 3 * 512
    conv = create_model("resnet18")
    there = predict_memory(conv, 64, device="cuda").activation_bytes
    assert there < predict_memory(conv, 64).activation_bytes


def test_on_a_gpu_gradients_and_state_are_rounded_too():
    """A weight of 36 bytes and a bias of 4: one granule each, and each as often as in the step."""
    model = nn.Conv2d(1, 1, 3)
    report = predict_memory(model, 8, training=TrainingMemory("adamw"), device="cuda")
    assert report.parameter_bytes == report.gradient_bytes == 2 * 512
    assert report.optimizer_bytes == 2 * report.gradient_bytes


@pytest.mark.parametrize("training", [None, TrainingMemory()])
def test_the_callers_gradient_mode_does_not_matter(training):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    expected = predict_memory(model, 16, training=training)
    for mode in (torch.inference_mode, torch.no_grad):
        with mode():
            assert predict_memory(model, 16, training=training) == expected


def test_the_layer_at_the_peak_is_named():
    inference = predict_memory(create_model("vgg11"), 224)
    assert inference.peak.layer.startswith("stages.0")
    assert inference.peak.phase == "forward"
    training = predict_memory(create_model("vgg11"), 224, training=TrainingMemory("adamw"))
    assert training.peak.phase == "update"
    assert max(m.held_bytes for m in training.timeline) == training.peak_bytes


@pytest.mark.parametrize("training", [None, TrainingMemory(checkpointing=True)])
def test_the_model_is_left_as_found(training):
    model = create_model("cifar_resnet20").train()
    model.head.eval()
    tensors = dict(model.state_dict(keep_vars=True))
    values = copy.deepcopy(model.state_dict())
    generator = torch.get_rng_state()
    predict_memory(model, 32, batch=2, training=training)
    now = model.state_dict(keep_vars=True)
    assert all(now[name] is tensor for name, tensor in tensors.items())
    assert all(torch.equal(now[name], value) for name, value in values.items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert model.training
    assert not model.head.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert all("forward" not in module.__dict__ for module in model.modules())


def test_a_tensor_that_no_module_registers_keeps_its_gradient():
    class Hidden(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = [torch.ones(3, 3, 3, 3, requires_grad=True)]
            self.scales = [torch.ones(3, 1, 1, requires_grad=True)]
            self.scales[0].grad = torch.ones(3, 1, 1)

        def forward(self, x):
            return nn.functional.conv2d(x, self.weights[0]) * self.scales[0]

    model = Hidden()
    gradient = model.scales[0].grad
    predict_memory(model, (3, 8, 8), training=TrainingMemory())
    assert model.weights[0].grad is None
    assert model.scales[0].grad is gradient


def test_recurrent_layers_and_other_inputs():
    report = predict_memory(
        nn.LSTM(10, 20, 2), inputs=[torch.empty(5, 3, 10)], training=TrainingMemory()
    )
    params = 4 * 20 * (10 + 20 + 2) + 4 * 20 * (20 + 20 + 2)  # four gates, two biases each
    assert report.parameter_bytes == 4 * params
    assert report.gradient_bytes == report.optimizer_bytes == 4 * params


@pytest.mark.parametrize("training", [None, TrainingMemory("adamw")])
def test_the_largest_batch_fits_and_the_next_does_not(training):
    model, limit = create_model("mobilenetv1_025"), 150_000_000
    best = max_batch(model, limit, 96, training=training)
    assert best.peak_bytes <= limit
    more = predict_memory(model, 96, batch=best.batch + 1, training=training)
    assert more.peak_bytes > limit
    assert best.batch > 8


def test_too_little_memory_says_how_much_is_needed():
    model = create_model("resnet18")
    with pytest.raises(
        OptionError, match=r"at least [\d,]+ bytes, which a batch of 1 needs, got 100"
    ):
        max_batch(model, 100, 64)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "float8"}, "float8"),
        ({"device": "tpu"}, "unknown device 'tpu'"),
        ({"batch": 0}, "batch must be 1 or more, got 0"),
        ({"input_size": 16}, "needs at least 63×63 pixels, got 16×16"),
        ({"training": "adamw"}, r"such as TrainingMemory\('adamw'\), got 'adamw'"),
    ],
)
def test_wrong_options_are_one_line(options, message):
    with pytest.raises(ConvAtlasError, match=message) as caught:
        predict_memory(create_model("alexnet"), **{"input_size": 64, **options})
    assert "\n" not in str(caught.value)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ConvAtlasError, match=r"adamw"):
        TrainingMemory("adamv")
    with pytest.raises(ConvAtlasError, match="take sgd, momentum, adam, adamw"):
        TrainingMemory("banana")


class _Map(nn.Module):
    """One convolution, then what a function makes of its map."""

    def __init__(self, then):
        super().__init__()
        self.conv, self.then = nn.Conv2d(3, 4, 3), then

    def forward(self, x):
        return self.then(self.conv(x))


@pytest.mark.parametrize(
    "then",
    [lambda y: y if y.mean() > 0 else 2 * y, lambda y: y[y > 0], lambda y: y * y.max().item()],
)
def test_a_forward_that_needs_values_is_refused(then):
    with pytest.raises(OptionError, match="forward needs the values of a tensor") as caught:
        predict_memory(_Map(then), 16)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("training", [None, TrainingMemory("adamw", checkpointing=True)])
@pytest.mark.parametrize("wrap", [torch.compile, nn.DataParallel])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.jit
def test_wrapped_modules_cost_what_they_wrap(wrap, training):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
    plain = predict_memory(model, 16, training=training)
    assert predict_memory(wrap(model), 16, training=training) == plain


@pytest.mark.parametrize(
    ("model", "message"),
    [("resnet50", "must be a torch.nn.Module, got str"), (nn.LazyConv2d(4, 3), "no weights yet")],
)
def test_what_is_no_readable_module_is_refused(model, message):
    with pytest.raises(OptionError, match=message):
        predict_memory(model, 16)


@pytest.mark.parametrize("model", [nn.ReLU(), nn.Conv2d(3, 4, 3).requires_grad_(False)])
def test_a_step_that_trains_nothing_is_a_forward_that_keeps_its_output(model):
    """No gradients, no state; the loss is a sum of means of the output."""
    report = predict_memory(model, (3, 16, 16), training=TrainingMemory("adamw"))
    forward = predict_memory(model, (3, 16, 16))
    assert report.gradient_bytes == report.optimizer_bytes == 0
    assert report.peak_bytes >= forward.peak_bytes


def test_the_largest_batch_where_batch_norm_cannot_train_on_one_image():
    """At 32 pixels the last maps of ResNet-18 are single pixels."""
    model = create_model("resnet18", num_classes=10)
    with pytest.raises(OptionError, match="more than 1 value per channel"):
        predict_memory(model, 32, training=TrainingMemory())
    pair = predict_memory(model, 32, batch=2, training=TrainingMemory())
    assert max_batch(model, pair.peak_bytes, 32, training=TrainingMemory()) == pair
    with pytest.raises(OptionError, match="which a batch of 2 needs"):
        max_batch(model, pair.peak_bytes - 1, 32, training=TrainingMemory())


@pytest.mark.parametrize(
    ("name", "blocks"), [("cifar_resnet20", 9), ("vgg11_bn", 5), ("squeezenet1_1", 8)]
)
def test_checkpointed_training_is_the_same_training(name, blocks):
    torch.manual_seed(0)
    model = create_model(name, num_classes=3, stem="small", dropout=0.0).train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    twin, images = copy.deepcopy(model), torch.randn(4, 3, 32, 32)
    model(images).square().sum().backward()
    with checkpointed(twin):
        twin(images).square().sum().backward()
    assert len(blocks_of(twin)) == blocks
    assert all("forward" not in block.__dict__ for block in blocks_of(twin))
    pairs = zip(model.parameters(), twin.parameters(), strict=True)
    assert all(torch.equal(a.grad, b.grad) for a, b in pairs)
    buffers = zip(model.buffers(), twin.buffers(), strict=True)
    assert all(torch.equal(a, b) for a, b in buffers)


def test_plain_tensors_of_a_module_are_not_written():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.seen = {"calls": torch.zeros(1)}
            self.scale = torch.ones(3)

        def forward(self, x):
            self.seen["calls"].add_(1)
            self.scale.mul_(2)
            return x * self.scale

    model = Counting()
    seen, scale = model.seen["calls"], model.scale
    predict_memory(model, inputs=[torch.empty(2, 3)])
    assert model.seen["calls"] is seen
    assert model.scale is scale
    assert seen.item() == 0
    assert scale.tolist() == [1, 1, 1]
