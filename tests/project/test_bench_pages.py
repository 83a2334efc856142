"""The tables in the pages are those of the figures that are kept."""

from tests.bench import capacity, page, results


def test_the_table_of_the_comparison_is_that_of_the_figures() -> None:
    _, found = results.load(page.FIGURES)
    assert page.shown(page.COMPARISON) == page.comparison(found)


def test_the_table_of_performance_is_that_of_the_figures() -> None:
    about, found = results.load(page.FIGURES)
    assert page.shown(page.PAGE) == page.performance(about, found)


def test_the_tables_of_capacity_are_those_of_the_figures() -> None:
    about, found = results.load(page.CAPACITY_FIGURES)
    assert page.shown(page.CAPACITY) == page.costs(about, found)
    assert page.shown(page.CAPACITY, page.SUMS) == capacity.million(found)
