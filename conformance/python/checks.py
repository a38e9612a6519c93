"""What programs check, counted: a suite that has checked too little has not run."""
made = 0
# Of a value that differs so much is shown.
SHOWN = 900


def counted():
    """One more, which somebody makes himself."""
    global made
    made += 1


def equal(got, expected, what=""):
    counted()
    where = f"{what}: " if what else ""
    assert got == expected, f"{where}got {repr(got)[:SHOWN]} instead of {repr(expected)[:SHOWN]}"


def holds(condition, text):
    counted()
    assert condition, text


def passed():
    """All of them have."""
    print(f"{made} checks passed")
