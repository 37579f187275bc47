"""Harbor Support: a simulated support desk whose truth is known.

Customers write about refunds, bills, passwords, response times and cancellations; a tiny copilot with bad
habits drafts replies; people react. The logs enter the pipeline by the same door as any other, and because
the right answer to every ticket is known, what training on them is worth can be measured. Importing this
package does not load torch.
"""

from harbor.demo_settings import DEMO_KTO, DEMO_SFT
from harbor.exceptions import HarborError
from harbor.kpis import evaluate
from harbor.simulation import Simulation, simulate

__all__ = ["DEMO_KTO", "DEMO_SFT", "HarborError", "Simulation", "evaluate", "simulate"]
