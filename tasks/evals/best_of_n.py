"""Best-of-n: of n responses of SFT to a prompt, the one that the reward model likes best.

It optimises the same reward without any training, at a KL from SFT that is known: log n − (n − 1)/n. PPO should beat it
at equal KL (Stiennon et al. 2020; Gao et al. 2022).
"""

import numpy as np
import torch

from tasks.evals.generation import Responses


def best_of_n(candidates: Responses, scores: np.ndarray, n: int) -> Responses:
    """The best of each n consecutive candidates, which all answer one prompt. `scores`: (N,)."""
    best = scores.reshape(-1, n).argmax(1) + np.arange(0, len(scores), n)
    rows = torch.from_numpy(best)
    return Responses(
        [candidates.ids[i] for i in best],
        [candidates.texts[i] for i in best],
        candidates.lengths[rows],
        candidates.ended[rows],
        None,
    )
