"""What the migration has to tell the user."""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Report:
    """`left_out`: place in the v1 file → why it is not in the YAML; these make the exit code 1. `notes`: what to check.
    `secrets`: reference in the YAML → the place of its value in the v1 file. `foreign`: variables of other programs.
    No text contains the value of a secret.
    """

    left_out: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)

    def leave_out(self, place: str, reason: str) -> None:
        """Adds a setting that the YAML lacks. The first reason for a place stays."""
        self.left_out.setdefault(place, reason)

    def places_by_reason(self) -> dict[str, list[str]]:
        """Returns the places that were left out, by their reason."""
        found: dict[str, list[str]] = {}
        for place, reason in self.left_out.items():
            found.setdefault(reason, []).append(place)
        return found

    def note(self, text: str) -> None:
        """Adds a remark, once."""
        if text not in self.notes:
            self.notes.append(text)
