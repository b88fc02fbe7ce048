"""What every carrier and provider promises, as checks that you run against your own.

```python
import pytest
from getpatter.testing import contracts

@pytest.mark.parametrize("check", contracts.voice_checks(MyVoice), ids=str)
def test_my_voice(check: contracts.Check) -> None:
    check()
```

Each check is small, runs on its own, and says in its failure what was promised, what happened instead and why it
matters to a call. `docs/how-to/write-a-carrier.md` and `write-a-provider.md` show whole examples.
"""

from __future__ import annotations

from getpatter.testing.contracts.check import BrokenPromiseError, Check
from getpatter.testing.contracts.desk import DeskSample, desk_checks
from getpatter.testing.contracts.models import model_checks
from getpatter.testing.contracts.recognisers import HearingSample, recogniser_checks
from getpatter.testing.contracts.voices import voice_checks
from getpatter.testing.contracts.wires import WireSample, wire_checks

__all__ = [
    "BrokenPromiseError",
    "Check",
    "DeskSample",
    "HearingSample",
    "WireSample",
    "desk_checks",
    "model_checks",
    "recogniser_checks",
    "voice_checks",
    "wire_checks",
]
