r"""Manifests of Audio Flamingo 3.

    [{"id": "x1", "sound": "a.wav", "duration": 12.3,
      "conversations": [{"from": "human", "value": "<sound>\nWhat ...?"}, {"from": "gpt", "value": "..."}]},
     {"id": "x2", "sound": ["a.wav", "b.wav"],
      "conversations": [{"from": "human", "value": "<sound-1>\n... <sound-2>\n..."},
                        {"from": "gpt", "value": "..."}]}]

All turns are kept. `duration` is the length of the file; a record without `sound` is text only.

Source: the README of NVIDIA/audio-flamingo, branch audio_flamingo_3.
"""

from music_flamingo.corpora.formats.hugging_face import conversation_records
from music_flamingo.corpora.formats.record import Format
from music_flamingo.corpora.formats.streams import JSON_SUFFIXES, json_rows

AUDIO_FLAMINGO_3 = Format(
    expects="records with conversations, and sound where they are not text only",
    suffixes=JSON_SUFFIXES,
    rows=json_rows,
    accepts=lambda row: "conversations" in row,
    records=conversation_records,
)
