"""A flow as a distribution of Pyro; Pyro is loaded when one is asked for."""

from functools import cache

from ..errors import Unsupported
from .flow import FlowDistribution


@cache
def pyro_law() -> type[FlowDistribution]:
    """FlowDistribution that is Pyro's too: pyro.sample calls it, plates expand it. Raises Unsupported without pyro-ppl.

    Bingham et al. 2019, Pyro: Deep Universal Probabilistic Programming.
    """
    try:
        from pyro.distributions.torch_distribution import TorchDistributionMixin
    except ImportError:
        raise Unsupported("expected the package pyro-ppl, got none: pip install 'pofx[pyro]'") from None

    class PyroFlow(FlowDistribution, TorchDistributionMixin):
        """p(x | c) of a flow, for pyro.sample."""

    return PyroFlow
