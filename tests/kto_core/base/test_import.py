"""The import of the package is light until a heavy name is used."""

import subprocess
import sys

import kto_core


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_the_package_and_building_configs_loads_no_torch():
    code = (
        "import sys, kto_core; kto_core.KTOConfig.from_dict({'beta': 1}); kto_core.SFTConfig(); kto_core.TrainingError;"
        "print([m for m in ('torch', 'transformers', 'accelerate', 'peft', 'pyarrow', 'optuna') if m in sys.modules])"
    )
    assert run(code) == "[]"


def test_every_public_name_resolves():
    assert all(callable(getattr(kto_core, name)) for name in kto_core.__all__)


def test_the_command_shows_help_without_torch():
    code = (
        "import sys\nfrom kto_core.__main__ import cli\n"
        "try: cli(['train', '--help'])\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    )
    assert run(code).splitlines()[-1] == "False"
