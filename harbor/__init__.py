"""Harbor Support: a simulated support desk whose truth is known.

Customers write about refunds, bills, passwords, response times and cancellations. A tiny copilot with bad
habits drafts replies, and people react. The logs enter the pipeline as any other logs do. The right answer
to every ticket is known, so the effect of training on them can be measured. Importing this package does not
load torch.
"""

from harbor.demo_settings import DEMO_KTO, DEMO_SFT
from harbor.exceptions import HarborError
from harbor.kpis import evaluate
from harbor.simulation import Simulation, simulate

__all__ = ["DEMO_KTO", "DEMO_SFT", "HarborError", "Simulation", "evaluate", "simulate"]
