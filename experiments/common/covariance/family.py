"""A family of covariances with a dozen numbers in it, the portfolio of least variance, and two ways to fit the numbers.

With second moments M_k of several half-lives, mixed by weights a for variances and by b for correlations,

    Σ = D R D,   R = c₁ corr(Σ b_k M_k) + c₂ I + c₃ (constant correlation),   D_ii = g (d_i/g)^e,  d_i² = Σ a_k M_k,ii,

where g is the geometric mean of the d_i, the constant is the mean correlation, and a, b, c are convex weights: decay,
shrinkage with its two targets (Ledoit & Wolf 2003, 2004), and by e how far apart the scales of the assets are.
"""

import torch
from torch import Tensor, nn

from layers import QPLayer

TARGETS = 3


class Family(nn.Module):
    """The numbers a, b, c and e; a weight that is pushed below zero stays there, weights are divided by their sum.

    Parameters
    ----------
    half_lives : int
        How many there are.
    place : int
        Which of them a and b begin with.
    shrinkage : tuple of float
        The shares of the identity and of the constant correlation to begin with.
    """

    def __init__(self, half_lives: int, place: int, shrinkage: tuple[float, float]) -> None:
        super().__init__()
        one = nn.functional.one_hot(torch.tensor(place), half_lives).double()
        self.variance, self.correlation = nn.Parameter(one), nn.Parameter(one.clone())
        start = (1 - sum(shrinkage), *shrinkage)
        self.shrinkage = nn.Parameter(torch.tensor(start, dtype=torch.float64))
        self.exponent = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(self, moments: Tensor) -> Tensor:
        """The covariances, shape (rows, assets, assets), from moments of shape (rows, half-lives, assets, assets)."""
        a, b, c = (_convex(each) for each in (self.variance, self.correlation, self.shrinkage))
        n = moments.shape[-1]
        scale = torch.einsum("k,rkii->ri", a, moments).sqrt()
        mean = scale.log().mean(-1, keepdim=True).exp()
        scale = mean * (scale / mean) ** self.exponent
        mixed = torch.einsum("k,rkij->rij", b, moments)
        root = mixed.diagonal(dim1=-2, dim2=-1).sqrt()
        R = mixed / (root[:, :, None] * root[:, None, :])
        eye = torch.eye(n, dtype=R.dtype)
        common = ((R.sum((-2, -1)) - n) / (n * (n - 1)))[:, None, None]
        R = c[0] * R + c[1] * eye + c[2] * (eye + common * (1 - eye))
        return scale[:, :, None] * R * scale[:, None, :]

    def project(self) -> None:
        """Take the weights that have left their domain back to its edge."""
        with torch.no_grad():
            for weights in (self.variance, self.correlation, self.shrinkage):
                weights.clamp_(min=0)
            self.exponent.clamp_(0, 2)


def _convex(weights: Tensor) -> Tensor:
    # At zero the derivative is that from the right.
    weights = weights.clamp(min=0)
    return weights / weights.sum()


def least_variance(layer: QPLayer, covariance: Tensor) -> Tensor:
    """The weights that minimise w'Σw subject to w ≥ 0, 1'w = 1, shape (rows, assets)."""
    rows, n = covariance.shape[:2]
    # The scale of Σ changes nothing but the units in which the program is solved.
    scale = covariance.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None]
    eye, one = torch.eye(n, dtype=covariance.dtype), torch.ones(1, dtype=covariance.dtype)
    zero = torch.zeros(n, dtype=covariance.dtype)
    return layer(covariance / scale, zero.expand(rows, n), -eye, zero, one.expand(1, n), one)


def negative_log_likelihood(covariance: Tensor, moments: Tensor, days: Tensor) -> Tensor:
    """Of normal daily returns of months with `days` days and second moments `moments`, a level of Σ maximised out.

    With N days and n assets, Σ_t up to one common factor: (Σ_t days_t log det Σ_t)/(2N) + (n/2) log of the mean over
    days of r'Σ⁻¹r/n, less a constant.
    """
    L = torch.linalg.cholesky(covariance)
    weights = days / days.sum()
    log_det = 2 * L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    n = covariance.shape[-1]
    distance = torch.cholesky_solve(moments, L).diagonal(dim1=-2, dim2=-1).sum(-1) / n
    return ((weights * log_det).sum() + n * (weights * distance).sum().log()) / 2
