"""The file of the operator-wide defaults: what it accepts, and the one line for what it does not."""

import pytest

from modelpress.api.defaults import Defaults, parse
from modelpress.api.errors import ConfigurationError
from modelpress.api.schemes import DeviceType

FILE = """
imagePullSecrets: [{name: login}]
storage: {uri: oci://registry.example.com/models, secretRef: {name: login}}
proxy: {httpsProxy: "http://proxy.example.com:3128", noProxy: .example.com}
caBundle: {configMapName: trusted}
downloads: {allowPrivateRedirects: true}
job: {nodeSelector: {pool: batch}, resources: {limits: {memory: 16Gi, cpu: 4}}}
workers:
  GPU: {runtimeClassName: nvidia, tolerations: [{key: nvidia.com/gpu, operator: Exists}]}
"""


def test_a_file_is_read() -> None:
    read = parse(FILE)
    assert read.image_pull_secrets is not None
    assert read.image_pull_secrets[0].name == "login"
    assert read.storage.uri == "oci://registry.example.com/models"
    assert read.proxy is not None
    assert read.proxy.http_proxy is None
    assert read.ca_bundle is not None
    assert read.ca_bundle.key == "ca.crt"
    assert read.downloads is not None
    assert read.downloads.allow_private_redirects
    assert read.downloads.max_seconds == 14400
    assert read.job is not None
    assert read.job.node_selector == {"pool": "batch"}
    gpu = read.workers.of(DeviceType.GPU)
    assert gpu is not None
    assert gpu.runtime_class_name == "nvidia"
    assert read.workers.of(DeviceType.CPU) is None


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "job:\nworkers:\nstorage:\n  uri:\n"])
def test_what_is_left_empty_is_unset(text: str) -> None:
    assert parse(text) == Defaults()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "jobs: {}",
            "jobs: unknown field; accepted are caBundle, downloads, imagePullSecrets, job, proxy,",
        ),
        ("workers: {TPU: {}}", "workers.TPU: unknown field; accepted are CPU, GPU"),
        (
            "imagePullSecrets: [{nam: x}]",
            "imagePullSecrets[0].nam: unknown field; accepted are name",
        ),
        ("job: {backoffLimit: 3}", "job.backoffLimit: unknown field; accepted are affinity, annotations,"),
        ("imagePullSecrets: login", 'imagePullSecrets: "login": Input should be a valid list'),
        ("job: {labels: {tier: 1}}", "job.labels.tier: 1: Input should be a valid string"),
        ("caBundle: {key: ca.crt}", "caBundle.configMapName: "),
        ("caBundle: {configMapName: ''}", "caBundle.configMapName: Invalid value: "),
        ("storage: {uri: registry.example.com}", 'storage.uri: "registry.example.com": must be a repository'),
        ("proxy: {httpProxy: proxy.example.com}", 'proxy.httpProxy: "proxy.example.com": must be a URL such'),
        (
            "job: {resources: {limits: {memory: lots}}}",
            "job.resources.limits.memory: 'lots': needed is a quantity such as 500m or 1Gi",
        ),
        ("job: {resources: {limits: [4Gi]}}", "job.resources.limits: ['4Gi']: needed is a map such as"),
        ("workers: {CPU: {env: [{name: HOME}]}}", "workers.CPU.env: HOME is set by ModelPress"),
        ("job: {env: [{name: MODELPRESS_STORE}]}", "job.env: MODELPRESS_STORE is set by ModelPress"),
        ("a: 1\n---\nb: 2\n", "holds 2 YAML documents, accepted is one"),
        ("job: {labels: [\n", "line 2: "),
    ],
)
def test_a_mistake_is_one_line_with_field_value_and_what_is_accepted(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 78
