"""A simulated language in which few words may follow each word, and a small model that has learned to speak it."""

import torch
from transformers import Qwen2ForCausalLM

from tasks.rlhf.rollout import Rollout

FOLLOWERS = 6  # words that may follow a word
END = 0.05  # probability of the end after any word
STEPS, BATCH, LENGTH, LEARNING_RATE = (
    400,
    64,
    20,
    4e-3,
)  # of the model's training; some 3.5 % of its words break the grammar


class Language:
    """Words are the tokens above `eos`, which is above `pad`. Each has FOLLOWERS words of its own, more and less likely ones."""

    def __init__(self, vocabulary: int, pad: int, eos: int, seed: int) -> None:
        self.pad, self.eos, self.words = pad, eos, eos + 1
        generator = torch.Generator().manual_seed(seed)
        self.probabilities = torch.zeros(vocabulary, vocabulary)
        self.probabilities[[pad, eos], pad] = 1
        for word in range(self.words, vocabulary):
            followers = torch.randperm(vocabulary - self.words, generator=generator)[:FOLLOWERS] + self.words
            weights = torch.rand(FOLLOWERS, generator=generator) + 0.2
            self.probabilities[word, followers] = (1 - END) * weights / weights.sum()
            self.probabilities[word, eos] = END

    def texts(self, number: int, length: int, generator: torch.Generator, *, ends: bool = True) -> torch.Tensor:
        """(number, length) tokens; after the end, if texts end, padding."""
        follow = self.probabilities.clone()
        if not ends:
            follow[self.words :, self.eos] = 0
        said = torch.randint(self.words, len(follow), (number, 1), generator=generator)
        for _ in range(length - 1):
            said = torch.cat([said, torch.multinomial(follow[said[:, -1]], 1, generator=generator)], 1)
        return said

    def grammatical(self, rollout: Rollout) -> torch.Tensor:
        """(B,): share of each response's tokens that may follow what stands before them."""
        before = torch.cat([rollout.prompt_ids[:, -1:], rollout.response_ids[:, :-1]], 1)
        allowed = self.probabilities[before, rollout.response_ids] > 0
        return (allowed * rollout.mask).sum(1) / rollout.mask.sum(1)

    def taught(self, model: Qwen2ForCausalLM, generator: torch.Generator) -> Qwen2ForCausalLM:
        """The model, trained on texts of this language."""
        optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
        falling = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
        for _ in range(STEPS):
            texts = self.texts(BATCH, LENGTH, generator)
            real = texts != self.pad
            labels = texts.masked_fill(~real, -100)
            model(input_ids=texts, attention_mask=real.long(), labels=labels).loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            falling.step()
        return model.requires_grad_(False).eval()
