"""What the story says on a terminal, and what the page remembers of it."""

from io import StringIO

from rich.console import Console

from headrace.demo.narrator import Narrator


def test_the_page_remembers_words_and_no_marks_of_a_terminal() -> None:
    said = StringIO()
    narrator = Narrator(Console(file=said))
    narrator.moment("champion", "[bold]champion[/]: steady (limit [0.1])", day=15)

    assert [moment.text for moment in narrator.moments] == ["champion: steady (limit [0.1])"]
    assert "champion: steady (limit [0.1])" in said.getvalue()
