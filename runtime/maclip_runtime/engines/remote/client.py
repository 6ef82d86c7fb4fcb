"""A client of KServe v2 over gRPC: is the server ready, are its models ours, and run one of them."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from maclip_runtime.bundle.manifest import GraphSpec, Manifest
from maclip_runtime.bundle.served import CONTRACT_PARAMETER, PREFIX, batch_axis, client_dims, served_graphs
from maclip_runtime.credentials import bearer_token
from maclip_runtime.engines.base import Array, device_missing
from maclip_runtime.engines.remote.address import CA_VARIABLE, TOKEN_VARIABLE, RemoteAddress
from maclip_runtime.errors import EXIT_MACHINE_LACKS, MaclipError, first_line
from maclip_runtime.redaction import one_line

NETWORK = ("visual", "tower")  # what a server is asked to run
DATATYPES = {"uint8": "UINT8", "bool": "BOOL", "float16": "FP16", "float32": "FP32"}
CONFIG_TYPES = {"uint8": "TYPE_UINT8", "bool": "TYPE_BOOL", "float16": "TYPE_FP16", "float32": "TYPE_FP32"}
# For a proxy, and for Triton itself with --grpc-restricted-protocol=...:authorization="Bearer TOKEN".
TOKEN_HEADERS = ("authorization", "triton-grpc-protocol-authorization")
RESTRICTED = "protocol is restricted"  # what Triton answers then, as if it were absent
TRIPS = 3  # empty requests, of which the shortest is the round trip
MAX_ANSWER_BYTES = 1 << 20  # of answers about the server, and beside a run's numbers
MAX_CA_BYTES = 1 << 22
BACK_OFF_MS = (100, 2000)  # between gRPC's own attempts to connect: the first, and the longest
CONNECT_MS = 2000  # of one such attempt
ABSENT = ("remote-unreachable", "remote-deadline")  # codes of a server that may come back by itself

log = logging.getLogger("maclip")


class RemoteClient:
    """One connection to a server, opened when it is first needed. Safe to use from several threads.

    address: of the server.
    manifest: of the bundle whose graphs the server must have; None: only to ask what it is.

    Raises `device-missing` without tritonclient, `token-invalid`, and `remote-insecure` where a token would travel
    in the clear.
    """

    def __init__(self, address: RemoteAddress, manifest: Manifest | None = None) -> None:
        self.address = address
        self._contract = manifest.contract if manifest else ""
        graphs = served_graphs(manifest) if manifest else {}
        self._specs = {name: spec for name, spec in graphs.items() if name in NETWORK}
        self._grpc, self._messages, service, self._types = _libraries()
        if bearer_token(TOKEN_VARIABLE) and not (address.secure or address.is_local):
            raise MaclipError(
                "remote-insecure",
                f"The token of {TOKEN_VARIABLE} would travel to {address.host} unencrypted.",
                "Use triton:grpcs://HOST:PORT, or remove the token.",
            )
        largest = max((_output_bytes(spec) for spec in self._specs.values()), default=0)
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", largest + MAX_ANSWER_BYTES),
            ("grpc.initial_reconnect_backoff_ms", BACK_OFF_MS[0]),
            ("grpc.min_reconnect_backoff_ms", CONNECT_MS),
            ("grpc.max_reconnect_backoff_ms", BACK_OFF_MS[1]),
            ("grpc.use_local_subchannel_pool", 1),  # another client of this process may have given the server up
        ]
        if address.secure:
            self._channel = self._grpc.secure_channel(address.target, self._certificates(), options)
        else:
            self._channel = self._grpc.insecure_channel(address.target, options)
        self._service = service.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        """Close the connection; runs in progress end with an error."""
        self._channel.close()

    def in_words(self) -> str:
        """What the server says that it is. Raises what `check` raises of a server."""
        found = self._call(self._service.ServerMetadata, self._messages.ServerMetadataRequest())
        return one_line(f"{found.name} {found.version} at {self.address.target}"[:200])

    def check(self) -> tuple[frozenset[str], float]:
        """The graphs that the server has, of "visual" and "tower", and the round trip in seconds.

        Raises `remote-unreachable`, `remote-deadline`, `remote-refused`, `remote-model-missing` where it has neither,
        `remote-contract` for models of another bundle, `remote-shapes` for models that take or give something else.
        """
        trips = []
        for _ in range(TRIPS):
            begun = time.perf_counter()
            self._call(self._service.ServerLive, self._messages.ServerLiveRequest())
            trips.append(time.perf_counter() - begun)
        ready = frozenset(name for name in self._specs if self._is_ready(name))
        if not ready:
            wanted = " or ".join(PREFIX + name for name in self._specs)
            raise MaclipError(
                "remote-model-missing",
                f"The server {self.address.target} has no model {wanted} that is ready.",
                "Serve the folder that `maclip export --triton` wrote, and see the server's log.",
                EXIT_MACHINE_LACKS,
            )
        for name in sorted(ready):
            self.require_ours(name)
        return ready, min(trips)

    def start(self, graph: str, inputs: Mapping[str, Array], timeout_s: float) -> Any:
        """Send one row's inputs; returns gRPC's future of the answer, for `finish`."""
        spec, request = self._specs[graph], self._messages.ModelInferRequest(model_name=PREFIX + graph)
        axis = batch_axis(spec)
        for tensor in spec.inputs:
            array = inputs[tensor.name]
            shape = [len(array), *client_dims(tensor, axis)]
            request.inputs.add(name=tensor.name, datatype=DATATYPES[tensor.dtype], shape=shape)
            request.raw_input_contents.append(np.ascontiguousarray(array, tensor.dtype).tobytes())
        for tensor in spec.outputs:
            request.outputs.add(name=tensor.name)
        return self._service.ModelInfer.future(request, timeout=timeout_s, metadata=self._metadata())

    def finish(self, graph: str, rows: int, future: Any) -> tuple[Array, ...]:
        """The outputs of a run that `start` sent, checked. Raises what `check` raises."""
        try:
            answer = future.result()
        except self._grpc.RpcError as error:
            raise self._error(error) from None
        except self._grpc.FutureCancelledError:
            raise self._unreachable("the connection was closed") from None
        except self._grpc.FutureTimeoutError:
            raise self.late() from None
        return tuple(self._outputs(graph, rows, answer))

    def seconds_on_server(self, graph: str) -> float:
        """What the server needs for a request of all clients in the mean, waiting included; 0 where it does not say."""
        try:
            request = self._messages.ModelStatisticsRequest(name=PREFIX + graph)
            (found,) = self._call(self._service.ModelStatistics, request).model_stats
            success = found.inference_stats.success
            return success.ns / success.count / 1e9 if success.count else 0.0
        except (MaclipError, ValueError):
            return 0.0

    def _outputs(self, graph: str, rows: int, answer: Any) -> list[Array]:
        spec, raw = self._specs[graph], answer.raw_output_contents
        found = {one.name: (number, one) for number, one in enumerate(answer.outputs)}
        outputs: list[Array] = []
        for tensor in spec.outputs:
            shape = [rows, *(n for n in tensor.shape[1:] if isinstance(n, int))]
            number, one = found.get(tensor.name, (len(raw), None))
            if one is None or number >= len(raw) or list(one.shape) != shape or one.datatype != DATATYPES[tensor.dtype]:
                raise self._wrong(graph, f"its answer has no {tensor.name} of {tensor.dtype} {shape}")
            if len(raw[number]) != math.prod(shape) * np.dtype(tensor.dtype).itemsize:
                raise self._wrong(graph, f"its {tensor.name} has {len(raw[number])} bytes")
            outputs.append(np.frombuffer(raw[number], np.dtype(tensor.dtype)).reshape(shape).copy())
        return outputs

    def _is_ready(self, graph: str) -> bool:
        try:
            answer = self._call(self._service.ModelReady, self._messages.ModelReadyRequest(name=PREFIX + graph))
        except MaclipError as error:
            if error.code in ("remote-model-missing", "remote-shapes"):  # some servers answer so
                return False
            raise
        return bool(answer.ready)

    def require_ours(self, graph: str) -> None:
        """Raises `remote-contract` or `remote-shapes` where a model is not the bundle's, and what `check` raises."""
        spec = self._specs[graph]
        config = self._call(self._service.ModelConfig, self._messages.ModelConfigRequest(name=PREFIX + graph)).config
        contract = config.parameters[CONTRACT_PARAMETER].string_value if CONTRACT_PARAMETER in config.parameters else ""
        if contract != self._contract:
            made_by = f"the contract {contract[:16]!r}" if contract else "no contract"
            raise MaclipError(
                "remote-contract",
                f"The model {PREFIX}{graph} of {self.address.target} has {made_by}, the bundle has "
                f"{self._contract[:16]!r}: their features cannot be compared.",
                "Serve what `maclip export --triton` writes for this bundle, or use the server's bundle here.",
            )
        axis = batch_axis(spec)
        for side, stated, found in (("inputs", spec.inputs, config.input), ("outputs", spec.outputs, config.output)):
            wanted = {one.name: (CONFIG_TYPES[one.dtype], client_dims(one, axis)) for one in stated}
            there = {one.name: (self._types.DataType.Name(one.data_type), list(one.dims)) for one in found}
            if wanted != there:
                raise self._wrong(graph, f"its {side} are {there}, the bundle's {wanted}")
        if config.max_batch_size < 1:
            raise self._wrong(graph, "it takes no batches")

    def _call(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self.address.timeout_s, metadata=self._metadata())
        except self._grpc.RpcError as error:
            raise self._error(error) from None

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        token = bearer_token(TOKEN_VARIABLE)
        return tuple((name, f"Bearer {token}") for name in TOKEN_HEADERS) if token else ()

    def _certificates(self) -> Any:
        file = os.environ.get(CA_VARIABLE)
        try:
            with Path(file).open("rb") if file else open(os.devnull, "rb") as opened:
                roots = opened.read(MAX_CA_BYTES) if file else None
        except OSError as error:
            raise MaclipError(
                "remote-insecure",
                f"The certificates {file} of {CA_VARIABLE} cannot be read ({error.strerror}).",
                "Give a PEM file of the authority that signed the server's certificate.",
            ) from error
        return self._grpc.ssl_channel_credentials(root_certificates=roots)

    def _error(self, error: Any) -> MaclipError:
        """gRPC's error as ours. Its details come from the server and from the library."""
        status, details = self._grpc.StatusCode, first_line(error.details() or error.code().name)
        code = error.code()
        if code is status.DEADLINE_EXCEEDED:
            return self.late()
        if code in (status.UNAUTHENTICATED, status.PERMISSION_DENIED) or RESTRICTED in details:
            return MaclipError(
                "remote-refused",
                f"The server {self.address.target} refuses the token, or wants one ({details}).",
                f"Put the right one into the environment variable {TOKEN_VARIABLE}, or into the file that "
                f"{TOKEN_VARIABLE}_FILE names.",
            )
        if code is status.NOT_FOUND or "unknown model" in details:
            return MaclipError(
                "remote-model-missing",
                f"The server {self.address.target} lacks a model ({details}).",
                "Serve the folder that `maclip export --triton` wrote, and see the server's log.",
                EXIT_MACHINE_LACKS,
            )
        if code in (status.INVALID_ARGUMENT, status.UNIMPLEMENTED):
            return MaclipError(
                "remote-shapes",
                f"The server {self.address.target} does not take what the bundle's graphs take ({details}).",
                "Serve the folder that `maclip export --triton` wrote for this bundle, with Triton.",
            )
        return self._unreachable(details)

    def _unreachable(self, why: str) -> MaclipError:
        return MaclipError(
            "remote-unreachable",
            f"The server {self.address.target} cannot be reached or does not answer ({why}).",
            f"See that it runs and listens there. With grpcs:// its certificate must be of a known authority, or "
            f"{CA_VARIABLE} names one. With --allow-fallback the machine's own engine begins without it.",
            EXIT_MACHINE_LACKS,
        )

    def late(self) -> MaclipError:
        """The error `remote-deadline`."""
        return MaclipError(
            "remote-deadline",
            f"The server {self.address.target} did not answer within {self.address.timeout_s:g} s.",
            "Give it more time with ?timeout=SECONDS after the address, or fewer clients.",
            EXIT_MACHINE_LACKS,
        )

    def _wrong(self, graph: str, why: str) -> MaclipError:
        return MaclipError(
            "remote-shapes",
            f"The model {PREFIX}{graph} of {self.address.target} is not the bundle's: {why}.",
            "Serve the folder that `maclip export --triton` wrote for this bundle.",
        )


def _output_bytes(spec: GraphSpec) -> int:
    sizes = (math.prod(n for n in one.shape if isinstance(n, int)) for one in spec.outputs)
    return sum(size * np.dtype(one.dtype).itemsize for size, one in zip(sizes, spec.outputs, strict=True))


def _libraries() -> tuple[Any, Any, Any, Any]:
    try:
        import grpc
        from tritonclient.grpc import model_config_pb2, service_pb2, service_pb2_grpc
    except (ImportError, RuntimeError) as error:  # tritonclient raises RuntimeError without grpcio
        raise device_missing(
            "triton",
            f"tritonclient is not installed ({first_line(error)})",
            "Install it: pip install 'maclip[triton]'.",
        ) from error
    return grpc, service_pb2, service_pb2_grpc, model_config_pb2
