"""llama.cpp's server on a model of a hundred kilobytes, for tests with an engine that is no part of Forebay.

The server is llama.cpp's own, as its binding `xllamacpp` brings it compiled. The model is made here, of random weights from a fixed seed:
what it says means nothing, yet every token of it is tokenised, computed, batched, streamed and counted as with any other model.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

MODEL = "tiny-llama"
SLOTS = 4
CONTEXT = 8192
"""Most tokens of one request, prompt and answer together."""

WORDS = ("rain", "snow", "river", "lake", "sea", "cloud", "spring", "ice")
_WIDTH, _INNER, _HEADS = 32, 64, 4
_TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"


def write_model(path: Path) -> None:
    """Writes a GGUF file: llama's architecture with one layer, and a vocabulary of single bytes and a few words."""
    marks = [("<unk>", gguf.TokenType.UNKNOWN), ("<s>", gguf.TokenType.CONTROL), ("</s>", gguf.TokenType.CONTROL)]
    single = [(f"<0x{byte:02X}>", gguf.TokenType.BYTE) for byte in range(256)]
    tokens = [*marks, *single, *((f"\u2581{word}", gguf.TokenType.NORMAL) for word in WORDS)]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_INNER)
    writer.add_block_count(1)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_types([int(kind) for _, kind in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(_TEMPLATE)
    for name, tensor in _weights(len(tokens)).items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _weights(tokens: int) -> dict[str, NDArray[np.float32]]:
    random = np.random.default_rng(seed=7)

    def matrix(rows: int, columns: int) -> NDArray[np.float32]:
        return np.asarray(random.standard_normal((rows, columns)) / columns**0.5, np.float32)

    ones = np.ones(_WIDTH, np.float32)
    output = np.zeros((tokens, _WIDTH), np.float32)
    # Only words have a logit that differs from 0: answers are readable, and hardly ever end before their limit.
    output[-len(WORDS) :] = 8 * matrix(len(WORDS), _WIDTH)
    return {
        "token_embd": matrix(tokens, _WIDTH),
        "blk.0.attn_norm": ones,
        **{f"blk.0.attn_{part}": matrix(_WIDTH, _WIDTH) for part in ("q", "k", "v", "output")},
        "blk.0.ffn_norm": ones,
        **{f"blk.0.ffn_{part}": matrix(_INNER, _WIDTH) for part in ("gate", "up")},
        "blk.0.ffn_down": matrix(_WIDTH, _INNER),
        "output_norm": ones,
        "output": output,
    }


def serve(host: str, port: int) -> None:
    """Serves until SIGTERM, with metrics, and prints its address once the model is loaded."""
    # Here, so that tests that only name the model do not load a hundred megabytes of server.
    import xllamacpp

    stop = {signal.SIGTERM, signal.SIGINT}
    # Before the server starts its threads, which inherit this: only sigwait takes the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    parameters = xllamacpp.CommonParams()
    parameters.hostnames, parameters.port = [host], port
    parameters.model_alias = {MODEL}
    parameters.n_parallel, parameters.n_ctx = SLOTS, SLOTS * CONTEXT
    parameters.cpuparams.n_threads = 1
    parameters.endpoint_metrics = True
    with tempfile.TemporaryDirectory() as folder:
        write_model(path := Path(folder) / "model.gguf")
        parameters.model.path = str(path)
        server = xllamacpp.Server(parameters)
    # It is loaded, and its file gone already: a server that is killed leaves none behind.
    print(server.listening_address, flush=True)
    signal.sigwait(stop)
    del server


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve a tiny random model with llama.cpp's server.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    arguments = parser.parse_args()
    serve(arguments.host, arguments.port)


if __name__ == "__main__":
    main()
