"""What a request becomes: its passes in order and the data that they need; what the tables of schemes say."""

from typing import Any

import pytest

from modelpress.api.contract import JobRequest
from modelpress.api.schemes import TRAITS, DeviceType, Scheme, memory_factor
from modelpress.compression import recipe, schemes
from modelpress.compression.passes.base import Pass, PassContext, TrainingUse
from modelpress.compression.passes.channels.l0 import ChannelL0Penalty
from modelpress.compression.passes.channels.pruning import ChannelPruning
from modelpress.compression.passes.clip import ValueClipping
from modelpress.compression.passes.finetune import AFTER_CHANNELS, MaskedFineTuning
from modelpress.compression.passes.l0 import L0Penalty
from modelpress.compression.passes.prune import ElementPruning
from modelpress.compression.report.document import PassReport
from modelpress.models.types import LoadedModel

TUNING = {"fineTuning": {"epochs": 1}}
CLIPPING = {"weightClipping": {"min": "-1", "max": "1"}}


def request(**fields: Any) -> JobRequest:
    names = {"name": "a", "namespace": "b", "recipeHash": "c", "deviceType": "CPU"}
    data = {role: {"uri": f"file:///{role}"} for role in ("training", "calibration", "evaluation")}
    return JobRequest.model_validate({**names, "model": {"uri": "file:///x"}, "data": data, **fields})


@pytest.mark.parametrize(
    ("pruning", "kinds"),
    [
        pytest.param(None, [MaskedFineTuning, ValueClipping], id="none"),
        pytest.param({"sparsity": "50%"}, [ElementPruning, MaskedFineTuning, ValueClipping], id="elements"),
        pytest.param(
            {"sparsity": "50%", "granularity": "Channel"},
            [ChannelPruning, MaskedFineTuning, ValueClipping],
            id="channels",
        ),
        pytest.param({"l0Penalty": "1e-3"}, [L0Penalty, ValueClipping], id="l0 of elements"),
        pytest.param(
            {"l0Penalty": "1e-3", "granularity": "Channel"}, [ChannelL0Penalty, ValueClipping], id="l0"
        ),
    ],
)
def test_passes_are_those_asked_for_in_their_order(pruning: Any, kinds: list[type]) -> None:
    compression = {"pruning": pruning} if pruning else {}
    found = recipe.of(request(compression=compression, optimization={**CLIPPING, **TUNING}))
    assert [type(step) for step in found.steps] == kinds
    assert found.data.keys() == {"training"}
    of_channels = bool(pruning) and pruning.get("granularity") == "Channel"
    assert found.training_use == (AFTER_CHANNELS if of_channels else TrainingUse())


@pytest.mark.parametrize(
    ("pruning", "kept"),
    [({}, False), ({"sparsity": "5%"}, True), ({"sparsity": "5%", "granularity": "Channel"}, False)],
)
def test_only_zeros_of_pruned_elements_are_kept(pruning: Any, kept: bool) -> None:
    compression = {"pruning": pruning} if pruning else {}
    *_, step = recipe.of(request(compression=compression, optimization=TUNING)).steps
    assert isinstance(step, MaskedFineTuning)
    assert step.keep_zeros is kept


def test_nothing_asked_for_is_no_pass_and_no_data() -> None:
    assert recipe.of(request()) == recipe.Recipe((), None, {})


def test_a_new_pass_is_a_line_and_its_data_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    class Toy(Pass):
        name = "toy"
        training_use = TrainingUse(distillation=1.0)

        def apply(self, model: LoadedModel, context: PassContext) -> tuple[LoadedModel, PassReport]:
            return model, PassReport(name=self.name, tensors=())

    toy = Toy()
    monkeypatch.setattr(recipe, "PASSES", (lambda _: toy, *recipe.PASSES))
    found = recipe.of(request(optimization=CLIPPING))
    assert found.steps == (toy, ValueClipping("-1", "1"))
    assert found.training_use == toy.training_use
    assert found.data.keys() == {"training"}


def test_both_tables_have_the_same_schemes_for_the_same_devices() -> None:
    assert set(TRAITS) == set(schemes.SCHEMES) == set(Scheme) - {Scheme.AUTO}
    for scheme, settings in schemes.SCHEMES.items():
        made = {DeviceType.CPU: settings.litert, DeviceType.GPU: settings.tensorflow}
        assert {device for device, found in made.items() if found} == set(TRAITS[scheme].memory), scheme


def test_the_order_of_a_search_is_that_of_the_table() -> None:
    cpu = ("Int8Dynamic", "Int8Static", "Int4Dynamic", "Int8Weights", "Float16")
    assert schemes.of_device(DeviceType.CPU) == cpu
    assert schemes.of_device(DeviceType.GPU) == ("Int4Weights", "Int8Weights", "Float16", "BFloat16")


def test_operators_of_a_mixture_can_be_made() -> None:
    for scheme, settings in schemes.mixable():
        assert settings.quantizer, scheme
        assert all(schemes.litert(repair).quantizer for repair in settings.repairs), scheme


def test_auto_counts_with_the_memory_of_the_worst_that_it_can_choose() -> None:
    for device in DeviceType:
        factors = [memory_factor(scheme, device) for scheme in schemes.of_device(device)]
        assert memory_factor(Scheme.AUTO, device) == max(factors)


@pytest.mark.parametrize(
    ("scheme", "device", "roles"),
    [
        ("Int8Static", "CPU", {"evaluation", "calibration"}),
        ("Int8Dynamic", "CPU", {"evaluation"}),
        ("Auto", "CPU", {"evaluation", "calibration"}),
        ("Auto", "GPU", {"evaluation"}),
    ],
)
def test_data_for_calibration_is_read_where_a_scheme_needs_it(
    scheme: str, device: str, roles: set[str]
) -> None:
    asked = request(
        deviceType=device,
        compression={"quantization": {"scheme": scheme}},
        evaluation={"minScore": "90%"},
    )
    assert recipe.of(asked).data.keys() == roles
