"""MANN and its LSTM in PyTorch, on the weights of ours: the peer of ``benchmarks/memory.py``."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class TorchMANN(nn.Module):
    """The defaults of ``models.mann.MANN``: LSTM controller, add vectors, the single least used slot erased.

    The projection of the inputs is one product over all steps, memory operations are batched products, and the slots
    come from ``topk``: what one would do for speed in eager PyTorch.
    """

    def __init__(self, params: Any, slots: int, width: int, reads: int) -> None:
        super().__init__()
        self.slots, self.width, self.reads = slots, width, reads
        self.input_kernel = _parameter(params["controller_input"]["kernel"])
        self.input_bias = _parameter(params["controller_input"]["bias"])
        self.kernel = _parameter(params["controller_kernel"])
        self.heads_kernel = _parameter(params["heads_kernel"])
        self.heads_bias = _parameter(params["heads_bias"])
        self.head_kernel = _parameter(params["head"]["kernel"])
        self.head_bias = _parameter(params["head"]["bias"])

    def forward(self, inputs: Tensor) -> Tensor:
        """[T, B, D] of pictures beside the labels before them -> logits [B, T, C]."""
        steps, batch, _ = inputs.shape
        offsets = inputs @ self.input_kernel + self.input_bias
        hidden = cell = inputs.new_zeros(batch, self.kernel.shape[1] // 4)
        read = inputs.new_zeros(batch, self.reads * self.width)
        memory = inputs.new_full((batch, self.slots, self.width), 1e-6)
        read_weights = inputs.new_zeros(batch, self.reads, self.slots)
        read_weights[:, :, 0] = 1.0
        usage = read_weights[:, 0]
        vectors, found = self.reads * self.width, []
        for t in range(steps):
            gates = torch.addmm(offsets[t], torch.cat([read, hidden], 1), self.kernel)
            entering, kept, new, leaving = gates.chunk(4, 1)
            cell = torch.sigmoid(kept + 1.0) * cell + torch.sigmoid(entering) * torch.tanh(new)
            hidden = torch.sigmoid(leaving) * torch.tanh(cell)
            said = torch.addmm(self.heads_bias, hidden, self.heads_kernel)
            keys = torch.tanh(said[:, :vectors]).view(batch, self.reads, self.width)
            adds = torch.tanh(said[:, vectors : 2 * vectors]).view(batch, self.reads, self.width)
            gate = torch.sigmoid(said[:, 2 * vectors :])[..., None]
            with torch.no_grad():
                least = usage.topk(self.reads, largest=False, sorted=True).indices
                free = F.one_hot(least, self.slots).to(usage.dtype)
            write_weights = gate * read_weights + (1.0 - gate) * free
            memory = memory * (1.0 - free[:, 0])[..., None] + write_weights.transpose(1, 2) @ adds
            slot_lengths = torch.rsqrt(memory.square().sum(2) + 1e-14)
            key_lengths = torch.rsqrt(keys.square().sum(2, keepdim=True) + 1e-12)
            similarity = (keys * key_lengths) @ memory.transpose(1, 2) * slot_lengths[:, None]
            read_weights = similarity.softmax(2)
            with torch.no_grad():
                usage = 0.95 * usage + (read_weights + write_weights).sum(1)
            read = (read_weights @ memory).flatten(1)
            found.append(torch.cat([hidden, read], 1))
        return torch.stack(found, 1) @ self.head_kernel + self.head_bias


class TorchLSTM(nn.Module):
    """PyTorch's own LSTM and a linear layer, with the weights of ``models.episode_controller``."""

    def __init__(self, params: Any) -> None:
        super().__init__()
        kernel, recurrent = params["controller_input"]["kernel"], params["controller_kernel"]
        hidden = recurrent.shape[0]
        self.lstm = nn.LSTM(kernel.shape[0], hidden)
        self.head_kernel = _parameter(params["head"]["kernel"])
        self.head_bias = _parameter(params["head"]["bias"])
        with torch.no_grad():
            self.lstm.weight_ih_l0.copy_(torch.from_numpy(np.array(kernel).T))
            self.lstm.weight_hh_l0.copy_(torch.from_numpy(np.array(recurrent).T))
            self.lstm.bias_ih_l0.copy_(torch.from_numpy(np.array(params["controller_input"]["bias"])))
            self.lstm.bias_hh_l0.zero_()
            self.lstm.bias_hh_l0[hidden : 2 * hidden] = 1.0

    def forward(self, inputs: Tensor) -> Tensor:
        """[T, B, D] -> logits [B, T, C]."""
        return self.lstm(inputs)[0].transpose(0, 1) @ self.head_kernel + self.head_bias


def _parameter(value: Any) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(np.array(value)))
