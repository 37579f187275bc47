from harbor.policy_book import CATEGORIES, CELLS, DECISIONS, ROUTES


def test_every_cell_has_a_name_of_its_own() -> None:
    assert len(CELLS) == 60
    assert len({cell.name for cell in CELLS}) == len(CELLS)
    assert {cell.category for cell in CELLS} == set(CATEGORIES)


def test_a_third_of_the_cells_of_every_category_have_a_habit() -> None:
    for category in CATEGORIES:
        cells = [cell for cell in CELLS if cell.category == category]
        assert 0.25 <= sum(cell.habit is not None for cell in cells) / len(cells) <= 0.4


def test_a_habit_is_wrong_and_more_common_than_the_truth() -> None:
    for cell in CELLS:
        if cell.habit is None:
            continue
        assert 0.65 <= cell.habit.share <= 0.8
        if cell.habit.kind == "confused_route":
            assert cell.habit.says in ROUTES - {cell.route}
        else:
            assert cell.habit.says != cell.figure


def test_no_decision_contains_the_name_of_a_route() -> None:
    # Or a right reply would be read as naming two routes.
    assert not [(decision, route) for decision in DECISIONS for route in ROUTES if route in decision.split()]
