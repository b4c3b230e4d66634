"""A tiny pickle writer, so that tests can say anything; and the checkpoint of a fork of EDM."""

import struct

from seeds.preconditioners import Preconditioned

NET = {
    "img_resolution": 8,
    "img_channels": 1,
    "model_type": "SongUNet",
    "model_channels": 8,
    "channel_mult": [1],
    "num_blocks": 1,
}


class Call:
    """A call of module.name with arguments, perhaps followed by a state."""

    def __init__(self, name, *args, state=None):
        self.name, self.args, self.state = name, args, state


def dump(value) -> bytes:
    match value:
        case None | True | False:
            return {None: b"N", True: b"\x88", False: b"\x89"}[value]
        case int():
            return b"\x8a\x09" + value.to_bytes(9, "little", signed=True)
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case bytes():
            return b"B" + struct.pack("<I", len(value)) + value
        case tuple():
            return b"(" + b"".join(map(dump, value)) + b"t"
        case list():
            return b"](" + b"".join(map(dump, value)) + b"e"
        case dict():
            return b"}(" + b"".join(dump(item) for pair in value.items() for item in pair) + b"u"
        case Call():
            module, _, name = value.name.rpartition(".")
            build = b"" if value.state is None else dump(value.state) + b"b"
            return (
                b"c"
                + f"{module}\n{name}\n".encode()
                + (dump(value.args) + b"R" if value.args != (...,) else b"")
                + build
            )


def storage(data: bytes, count: int, kind="FloatStorage", little=True, key="7", keys=("7",)) -> Call:
    heads = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": little, "type_sizes": {}}]
    start = b"".join(
        b"\x80\x02" + (b"\x8a\x0a" + h.to_bytes(10, "little") if h == heads[0] else dump(h)) + b"." for h in heads
    )
    persistent = b"\x80\x02" + dump(("storage", Call(f"torch.{kind}", ...), key, "cpu", count, None)) + b"Q."
    return Call(
        "torch.storage._load_from_bytes",
        start + persistent + b"\x80\x02" + dump(list(keys)) + b"." + struct.pack("<q", count) + data,
    )


def tensor(stored: Call, size, stride, offset=0) -> Call:
    return Call("torch._utils._rebuild_tensor_v2", stored, offset, size, stride, False, Call("collections.OrderedDict"))


def network(parameters: dict, **state) -> bytes:
    state = {"_parameters": parameters, "_init_args": (), "_init_kwargs": NET} | state
    meta = {"type": "class", "version": 6, "module_src": "", "class_name": "EDMPrecond", "state": state}
    return b"\x80\x04" + dump({"ema": Call("torch_utils.persistence._reconstruct_persistent_obj", meta)}) + b"."


def stored(tensors: dict) -> dict:
    """Float32 tensors by name, as a pickle holds them."""
    return {
        name: tensor(storage(t.numpy().tobytes(), t.numel()), tuple(t.shape), t.stride()) for name, t in tensors.items()
    }


def record(class_name: str, source: str, state: dict) -> Call:
    """A persistent object of the reference's kind, with the text of the module that defined its class."""
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}
    return Call("torch_utils.persistence._reconstruct_persistent_obj", meta)


def fork(denoiser: Preconditioned, source: str, inner: str | None = None) -> bytes:
    """A snapshot of this network as a training loop with another network file would write it: `source` is its text,
    `inner` that of the U-Net's class."""
    net = record("SongUNet", source if inner is None else inner, {"_parameters": stored(denoiser.model.state_dict())})
    state = {"_init_args": (), "_init_kwargs": denoiser.config.kwargs, "_modules": {"model": net}}
    loss = record("EDMLoss", "# another file: the loss", {"P_mean": -1.2})
    return b"\x80\x04" + dump({"ema": record(denoiser.config.class_name, source, state), "loss_fn": loss}) + b"."
