"""nn.Transformer from end to end: its own mask, tied output, teacher forcing, beam search."""

import math

import torch
import torch.nn as nn
from torch import Tensor
from torch.nn import Transformer

PAD, BOS, EOS = 0, 1, 2


class PositionalEncoding(nn.Module):
    def __init__(self, emb_size: int, dropout: float, maxlen: int = 20):
        super().__init__()
        den = torch.exp(-torch.arange(0, emb_size, 2) * math.log(10000) / emb_size)
        pos = torch.arange(0, maxlen).reshape(maxlen, 1)
        pos_embedding = torch.zeros((maxlen, emb_size))
        pos_embedding[:, 0::2] = torch.sin(pos * den)
        pos_embedding[:, 1::2] = torch.cos(pos * den)
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("pos_embedding", pos_embedding.unsqueeze(-2))

    def forward(self, x: Tensor):
        return self.dropout(x + self.pos_embedding[:x.size(0), :])


class Seq2Seq(nn.Module):
    def __init__(self, vocab: int = 12, emb: int = 16):
        super().__init__()
        self.emb = emb
        self.transformer = Transformer(d_model=emb, nhead=2, num_encoder_layers=2,
                                       num_decoder_layers=2, dim_feedforward=24, dropout=0.0)
        self.embedding = nn.Embedding(vocab, emb)
        self.generator = nn.Linear(emb, vocab)
        self.generator.weight = self.embedding.weight
        self.positions = PositionalEncoding(emb, dropout=0.0)

    def embed(self, tokens: Tensor) -> Tensor:
        return self.positions(self.embedding(tokens.long()) * math.sqrt(self.emb))

    def forward(self, src, tgt, src_mask, tgt_mask, src_padding_mask, tgt_padding_mask):
        outs = self.transformer(self.embed(src), self.embed(tgt), src_mask, tgt_mask, None,
                                src_padding_mask, tgt_padding_mask, src_padding_mask)
        return self.generator(outs)


def masks(src, tgt):
    tgt_mask = torch.triu(torch.ones(tgt.shape[0], tgt.shape[0]), diagonal=1).bool()
    src_mask = torch.zeros((src.shape[0], src.shape[0])).type(torch.bool)
    return src_mask, tgt_mask, (src == PAD).transpose(0, 1), (tgt == PAD).transpose(0, 1)


@torch.no_grad()
def beam_search(model, src, beams=3, length=7):
    memory = model.transformer.encoder(model.embed(src))
    paths = [([BOS], 0.0)]
    for _ in range(length):
        candidates = []
        for tokens, score in paths:
            if tokens[-1] == EOS:
                candidates.append((tokens, score))
                continue
            tgt = torch.tensor(tokens).unsqueeze(1)
            mask = nn.Transformer.generate_square_subsequent_mask(tgt.size(0))
            out = model.transformer.decoder(model.embed(tgt), memory, tgt_mask=mask,
                                            tgt_is_causal=True)
            log_probs = torch.log_softmax(model.generator(out[-1, 0]), dim=-1)
            values, indices = log_probs.topk(beams)
            for value, index in zip(values, indices):
                candidates.append((tokens + [index.item()], score + value.item()))
        paths = sorted(candidates, key=lambda path: -path[1])[:beams]
    return paths


def build():
    model = Seq2Seq()
    for p in model.parameters():
        if p.dim() > 1:
            nn.init.xavier_uniform_(p)
    return model


def run(model):
    src = torch.tensor([[3, 5, 7, 4, 11, 8], [4, 9, 10, 0, 0, 0], [11, 3, 3, 6, 0, 0],
                        [5, 5, 8, 9, 10, 0]]).T
    ends = torch.full((1, 4), EOS)
    tgt = torch.cat([torch.full((1, 4), BOS), src.flip(0), ends])
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.9, 0.98), eps=1e-9)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=4)
    criterion = nn.CrossEntropyLoss(ignore_index=PAD, label_smoothing=0.05)
    results, losses = {"tied": len(list(model.parameters()))}, []
    for step in range(8):
        tgt_input, tgt_out = tgt[:-1, :], tgt[1:, :]
        src_mask, tgt_mask, src_padding, tgt_padding = masks(src, tgt_input)
        logits = model(src, tgt_input, src_mask, tgt_mask, src_padding, tgt_padding)
        optimizer.zero_grad()
        loss = criterion(logits.reshape(-1, logits.shape[-1]), tgt_out.reshape(-1))
        loss.backward()
        if step == 0:
            results["logits"] = logits
            results["gradients"] = {n: p.grad.clone() for n, p in model.named_parameters()}
        optimizer.step()
        warmup.step()
        losses.append(loss.item())
    results["losses after steps"] = losses
    model.eval()
    paths = beam_search(model, src[:, :1])
    results["beams"] = [tokens for tokens, _ in paths]
    results["scores after steps"] = [score for _, score in paths]
    return results


if __name__ == "__main__":
    print(run(build()))
