"""In processes of their own, as what is imported when is the question."""

import subprocess
import sys

import pytest

REGISTERED = """
import sys
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoModelForMultimodalLM, AutoProcessor
from transformers.models.auto.feature_extraction_auto import FEATURE_EXTRACTOR_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_MULTIMODAL_LM_MAPPING, MODEL_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING

kinds = ["tinymu", "matpac", "audio_flamingo_2", "af_clap"]
tinymu, matpac, flamingo, clap = (type(AutoConfig.for_model(kind)) for kind in kinds)
print(MODEL_FOR_MULTIMODAL_LM_MAPPING[tinymu].__name__, PROCESSOR_MAPPING[tinymu].__name__)
print(MODEL_MAPPING[matpac].__name__, FEATURE_EXTRACTOR_MAPPING[matpac].__name__)
print(MODEL_FOR_MULTIMODAL_LM_MAPPING[flamingo].__name__, PROCESSOR_MAPPING[flamingo].__name__)
print(MODEL_MAPPING[tinymu].__name__, MODEL_MAPPING[flamingo].__name__, FEATURE_EXTRACTOR_MAPPING[flamingo].__name__)
print(MODEL_MAPPING[clap].__name__, FEATURE_EXTRACTOR_MAPPING[clap].__name__)
print([finder for finder in sys.meta_path if type(finder).__module__.startswith("music_flamingo")])
"""
EXPECTED = """\
TinyMUForConditionalGeneration TinyMUProcessor
MatpacModel MatpacFeatureExtractor
AudioFlamingo2ForConditionalGeneration AudioFlamingo2Processor
TinyMUModel AudioFlamingo2Model AFClapFeatureExtractor
AFClapModel AFClapFeatureExtractor
[]
"""
WITHOUT_TRANSFORMERS = [
    "music_flamingo.cli",
    "music_flamingo.corpora.songbook.build",
    "music_flamingo.corpora.formats.importing",
    "music_flamingo.corpora.formats.exporting",
    "music_flamingo.corpora.shar.build",
    "music_flamingo.corpora.inspection.check",
    "music_flamingo.corpora.inspection.overlap",
    "music_flamingo.evaluation.report",
]


def said_by(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "imports",
    [
        "import transformers, music_flamingo",
        # Asked for first without being imported, then by way of a module that Auto classes are below.
        "import music_flamingo, importlib.util; importlib.util.find_spec('transformers')\n"
        "from transformers.modeling_utils import PreTrainedModel",
    ],
    ids=["transformers first", "transformers last"],
)
def test_auto_classes_know_our_models_whoever_is_imported_first(imports: str) -> None:
    assert said_by(f"{imports}\n{REGISTERED}") == EXPECTED


def test_a_library_that_imports_transformers_and_that_models_import_may_come_after_us() -> None:
    program = "import music_flamingo, peft; from music_flamingo.models import LoRA; print(peft.LoraConfig.__name__)"
    assert said_by(program) == "LoraConfig\n"


def test_help_and_data_verbs_wait_for_no_model() -> None:
    absent = "[name for name in ('transformers', 'music_flamingo.models') if name in sys.modules]"
    imports = "".join(f"importlib.import_module({name!r})\n" for name in WITHOUT_TRANSFORMERS)
    assert said_by(f"import importlib, sys\n{imports}print({absent})") == "[]\n"


def test_the_package_alone_imports_nothing_but_the_standard_library() -> None:
    program = "import sys; before = set(sys.modules); import music_flamingo; print(*(set(sys.modules) - before))"
    added = {name for name in said_by(program).split() if name.partition(".")[0] not in sys.stdlib_module_names}
    assert added == {"music_flamingo", "music_flamingo.auto_classes"}
