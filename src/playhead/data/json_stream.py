"""Reading a JSON file of any size through a window: value by value, from any place between two values on."""

import codecs
import json
from pathlib import Path
from typing import Any, BinaryIO

from playhead.errors import AnnotationError

BLOCK_BYTES = 4 << 20
LONGEST_VALUE = 64 << 20  # characters; a value that is longer is taken for a fault of the file
TOO_EARLY = "the JSON ends too early; is the file complete?"
MARGIN = 16  # an error so near to the end of the window may only mean that the rest is not read yet


class JsonText:
    """A window that moves over a JSON file; `offset` and `row` are the place last settled, in bytes and whole lines.

    Bytes that are no UTF-8 come as lone surrogates in the texts that have them, for the caller to refuse.
    """

    def __init__(self, file: BinaryIO, path: Path, offset: int = 0, row: int = 0):
        self._file, self._path = file, path
        self._decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
        self._json = json.JSONDecoder()
        self._text, self._settled, self._at = "", 0, 0
        self.offset, self.row = offset, row
        file.seek(offset)
        if offset == 0 and file.read(3) == codecs.BOM_UTF8:
            self.offset = 3
        file.seek(self.offset)

    def value(self) -> Any:
        """Return the value that begins here.

        Raises:
            AnnotationError: there is none; names the row.
        """
        self._peek()
        while True:
            try:
                value, self._at = self._json.raw_decode(self._text, self._at)
                return value
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated") or error.pos > len(self._text) - MARGIN
                if not is_cut or len(self._text) - self._at > LONGEST_VALUE:
                    raise self._error(f"no JSON ({error.msg}); repair the file.", error.pos) from error
                if not self._fill():
                    raise self._error(TOO_EARLY, len(self._text)) from error
            except RecursionError as error:
                raise self.fault("nested too deep") from error

    def expect(self, sign: str) -> None:
        """Step over a sign.

        Raises:
            AnnotationError: it does not stand here.
        """
        if not self.takes(sign):
            raise self.fault(f"{sign!r} expected")

    def takes(self, sign: str) -> bool:
        """Step over a sign if it stands here, blanks aside; say whether it did."""
        found = self._peek() == sign
        self._at += found
        return found

    def end(self) -> None:
        """Check that nothing follows.

        Raises:
            AnnotationError: something does.
        """
        if self._peek():
            raise self.fault("nothing may follow")

    def settle(self) -> None:
        """Take the place here for one to go on from; what lies before is forgotten."""
        passed = self._text[self._settled : self._at]
        self.offset += len(passed.encode("utf-8", "surrogateescape"))
        self.row += passed.count("\n")
        self._settled = self._at

    def fault(self, problem: str) -> AnnotationError:
        """Return the error to raise for what stands here."""
        return self._error(f"{problem}; repair the file." if self._peek() else TOO_EARLY, self._at)

    def _error(self, problem: str, at: int) -> AnnotationError:
        return AnnotationError(problem, path=self._path, row=self.row + self._text.count("\n", self._settled, at) + 1)

    def _peek(self) -> str:
        while True:
            while self._text[self._at : self._at + 1] in (" ", "\t", "\r", "\n"):
                self._at += 1
            if self._at < len(self._text) or not self._fill():
                return self._text[self._at : self._at + 1]

    def _fill(self) -> bool:
        """Read on; False at the end of the file."""
        block = self._file.read(BLOCK_BYTES)
        self._text = self._text[self._settled :] + self._decode(block, final=not block)
        self._at -= self._settled
        self._settled = 0
        return bool(block)
