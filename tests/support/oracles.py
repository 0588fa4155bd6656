"""Closed forms with many digits."""

import mpmath


def exact_dirichlet_kl(log_total, log_prior_total, k):
    """The published form, with digits enough for all that cancels."""
    with mpmath.workdps(60 + int(max(log_total, 0))):
        A, A_p = mpmath.exp(mpmath.mpf(log_total)), mpmath.exp(mpmath.mpf(log_prior_total))
        slope = -mpmath.digamma(A) + mpmath.digamma(A / k)
        constant = mpmath.loggamma(A) - mpmath.loggamma(A_p) + (A - A_p) * slope
        return float(constant + k * (mpmath.loggamma(A_p / k) - mpmath.loggamma(A / k)))
