"""The name of the operator behind a call: ``x + y``, ``torch.add`` and ``aten::add`` are ``add``.

Also the few classes of calls that a trace must treat apart: questions about a tensor,
tensor factories, moves between devices, and operators that only move or rename values.
Knows nothing about costs, shapes or receptive fields.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from torch._ops import OpOverload, OpOverloadPacket

__all__ = [
    "DEVICE_MOVES",
    "FACTORIES",
    "LITERALS",
    "MOVES",
    "SHAPE_READERS",
    "VALUE_READS",
    "Identity",
    "identify",
]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


VALUE_READS = _names(
    """
    item tolist numpy is_nonzero equal allclose
    __bool__ __int__ __float__ __index__ __complex__ __array__ __contains__
    """
)

# Their answer is no tensor, so they are asked as they are and never recorded.
_QUERIES = VALUE_READS | _names(
    """
    size dim ndimension numel nelement stride storage_offset element_size data_ptr get_device
    is_contiguous is_floating_point is_complex is_signed is_pinned is_same_size is_shared
    is_tensor is_set_to dim_order has_names result_type can_cast storage untyped_storage
    broadcast_shapes register_hook __len__ __hash__ __repr__ __format__ __dir__
    """
)

# Attributes that are tensors; every other attribute (shape, dtype, device, …) is a query.
_TENSOR_ATTRIBUTES = frozenset(("T", "mT", "H", "mH", "data", "real", "imag", "grad"))

LITERALS = frozenset(("tensor", "as_tensor", "asarray", "scalar_tensor", "from_numpy"))

FACTORIES = _names(
    """
    empty zeros ones full eye arange range linspace logspace empty_strided empty_permuted
    rand randn randint randperm normal tril_indices triu_indices
    bartlett_window blackman_window hamming_window hann_window kaiser_window
    """
)

# They read the shape of their input and not its values.
SHAPE_READERS = _names(
    """
    zeros_like ones_like empty_like full_like rand_like randn_like randint_like
    new_zeros new_ones new_empty new_full new_tensor new_empty_strided
    """
)

DEVICE_MOVES = frozenset(("to", "cpu", "cuda", "xpu"))

# No arithmetic at all: views, copies, joins, gathers, constant fills and, in eval mode, dropout.
MOVES = _names(
    """
    view view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze expand expand_as
    permute transpose movedim adjoint t T mT H mH
    chunk split split_with_sizes tensor_split unsafe_chunk unsafe_split narrow select slice unbind
    getitem setitem index index_select index_put gather scatter take_along_dim embedding
    as_strided diagonal unfold im2col alias data real imag detach lift_fresh
    cat stack hstack vstack dstack tile repeat repeat_interleave broadcast_to
    broadcast_tensors meshgrid contiguous clone copy to cpu cuda xpu type type_as half float
    double bfloat16 int long bool roll flip rot90 pad constant_pad_nd
    reflection_pad1d reflection_pad2d reflection_pad3d
    replication_pad1d replication_pad2d replication_pad3d
    pixel_shuffle pixel_unshuffle channel_shuffle where masked_fill fill zero tril triu one_hot
    max_unpool1d max_unpool2d max_unpool3d
    zeros ones empty full eye arange linspace zeros_like ones_like empty_like full_like
    new_zeros new_ones new_empty new_full new_tensor empty_strided empty_permuted
    new_empty_strided dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout
    feature_alpha_dropout native_dropout
    """
)

# One operator, several names: aliases, Python's operator methods and the aten names behind them.
_SAME = {
    "multiply": "mul",
    "subtract": "sub",
    "divide": "div",
    "truediv": "div",
    "true_divide": "div",
    "floordiv": "floor_divide",
    "negative": "neg",
    "absolute": "abs",
    "invert": "bitwise_not",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "mod": "remainder",
    "greater": "gt",
    "greater_equal": "ge",
    "less": "lt",
    "less_equal": "le",
    "not_equal": "ne",
    "concat": "cat",
    "concatenate": "cat",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "moveaxis": "movedim",
    "special_expit": "sigmoid",
    "special_erf": "erf",
    "vector_norm": "linalg_vector_norm",
    "_unsafe_view": "view",
    "_reshape_alias": "view",
    "_to_copy": "to",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "native_layer_norm": "layer_norm",
    "native_group_norm": "group_norm",
    "native_batch_norm": "batch_norm",
    "_native_batch_norm_legit_no_training": "batch_norm",
    "_fused_rms_norm": "rms_norm",
    "_adaptive_avg_pool2d": "adaptive_avg_pool2d",
    "_adaptive_avg_pool3d": "adaptive_avg_pool3d",
}
_ARITHMETIC = ("add", "sub", "mul", "div", "truediv", "floordiv", "mod", "pow", "matmul")
_REFLECTED = {f"r{name}": name for name in (*_ARITHMETIC, "and", "or", "xor")}
_AUGMENTED = {f"i{name}": name for name in (*_ARITHMETIC, "and", "or", "xor")}


class Identity(NamedTuple):
    """What a called function is.

    Attributes:
        operator: ``"conv2d"``, ``"add"``; with its namespace (``"mylib::warp"``) when the
            operator is not torch's own.
        in_place: Whether it writes into its first argument.
        query: Whether it only asks about a tensor.
    """

    operator: str
    in_place: bool = False
    query: bool = False


@lru_cache(maxsize=4096)
def identify(function: Callable[..., Any]) -> Identity:
    """Name the operator of ``function``, as torch hands it to a mode."""
    if isinstance(function, OpOverload | OpOverloadPacket):
        return _registered(function)
    name = getattr(function, "__name__", type(function).__name__)
    if name in ("__get__", "__set__", "__delete__"):
        attribute = getattr(getattr(function, "__self__", None), "__name__", "")
        in_place = name != "__get__"
        query = not in_place and attribute not in _TENSOR_ATTRIBUTES
        return Identity(attribute, in_place, query)
    return _named(name)


def _registered(function: OpOverload | OpOverloadPacket) -> Identity:
    """Name an operator of the dispatcher; foreign ones keep their namespace."""
    packet = function.overloadpacket if isinstance(function, OpOverload) else function
    namespace, _, name = packet._qualified_op_name.partition("::")
    return _named(name) if namespace in ("aten", "prims") else Identity(f"{namespace}::{name}")


def _named(name: str) -> Identity:
    """Name an operator by its Python name: ``__iadd__`` and ``add_`` are ``add`` in place."""
    if name in _QUERIES:
        return Identity(name, query=True)
    if name.startswith("__") and name.endswith("__"):
        bare = name.strip("_")
        in_place = bare in _AUGMENTED or bare == "setitem"
        bare = _AUGMENTED.get(bare) or _REFLECTED.get(bare) or bare
    else:
        in_place = name.endswith("_")
        bare = name.rstrip("_")
    return Identity(_SAME.get(bare, bare), in_place)
