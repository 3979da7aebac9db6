import pytest
import torch
from torch import nn

from ansatzlab.errors import InputError
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.reference import reference_agop
from ansatzlab.measurement.run import measure
from ansatzlab.report.looks.tokens import named_embeddings, nearest_tokens, token_looks

NAMES = [f"word{place}" for place in range(20)]


class Bag(nn.Module):
    """Words and their kinds, embedded, averaged and read."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.kinds, self.head = nn.Embedding(20, 5), nn.Embedding(3, 5), nn.Linear(5, 2)

    def forward(self, tokens):
        return self.head(torch.tanh(self.words(tokens) + self.kinds(tokens % 3)).mean(1))


@pytest.fixture(scope="module")
def bag():
    torch.manual_seed(0)
    model = Bag().double()
    tokens = torch.randint(12, (10, 4), generator=torch.Generator().manual_seed(1))  # words 12 to 19 are never seen
    return model, tokens, measure(model, tokens)


def number(text):
    return float(text.replace("−", "-").removesuffix(" ×").removesuffix(" %"))


def test_the_tokens_are_those_of_the_formed_agops_eigenvectors(bag):
    model, tokens, measured = bag
    truth = reference_agop(model, tokens, layers="words")["words"]
    (look,) = token_looks(measured, NAMES, count=3, shown=4)  # the kinds are too few
    assert look.layer == "words"
    diagonal, *rows = look.tokens
    order = truth.diagonal().argsort(descending=True)[:4]
    assert [name for name, _ in diagonal.positive] == [NAMES[place] for place in order]
    times = truth.diagonal() / truth.diagonal().mean()
    assert [number(told) for _, told in diagonal.positive] == pytest.approx(times[order].tolist(), abs=6e-3)
    values, vectors = torch.linalg.eigh(truth)
    assert len(rows) == 3
    for rank, row in enumerate(rows, start=1):
        assert number(row.share) == pytest.approx(100 * float(values[-rank] / truth.trace()), rel=6e-3)
        vector = vectors[:, -rank] * vectors[vectors[:, -rank].abs().argmax(), -rank].sign()
        for side, told in ((1, row.positive), (-1, row.negative)):
            order = [int(place) for place in (side * vector).argsort(descending=True)[:4] if side * vector[place] > 0]
            assert [name for name, _ in told] == [NAMES[place] for place in order]
            assert [number(entry) for _, entry in told] == pytest.approx(vector[order].tolist(), rel=0.06)


def test_an_entry_is_the_embeddings_reach_along_one_direction(bag):
    """``v_t = e_tᵀ u`` with ``u = K Eᵀ v / λ``, which is an eigenvector of ``K EᵀE``."""
    _, _, measured = bag
    layer = measured["words"]
    table, core = layer.blocks[0].mT, layer.sums.mean_gram()[0]
    vector = layer.agop_directions(1)[0]
    value = layer.spectrum().eigenvalues[0]
    u = core @ (table.mT @ vector) / value
    assert torch.allclose(table @ u, vector, atol=1e-6)
    assert torch.allclose(core @ (table.mT @ table) @ u, value * u, rtol=1e-5)


def test_without_names_tokens_are_numbers(bag):
    (look,) = token_looks(bag[2], shown=2)
    assert all(name.startswith("#") for row in look.tokens for name, _ in row.positive)


def test_no_matrix_over_the_vocabulary_is_formed(bag, monkeypatch):
    monkeypatch.setattr(LayerMeasurement, "agop", None)
    monkeypatch.setattr(LayerMeasurement, "weight_gram", None)
    assert token_looks(bag[2], NAMES)


def test_a_network_without_embeddings_has_no_tokens():
    measured = measure(nn.Linear(20, 2).double(), torch.eye(20, dtype=torch.float64))
    assert token_looks(measured) == ()
    with pytest.raises(InputError, match="got 20 names for embeddings of these numbers of rows: none"):
        token_looks(measured, NAMES)


@pytest.mark.parametrize(
    ("rows", "count", "wanted"),
    [
        ({"words": 20, "places": 64}, 20, {"words"}),
        ({"source": 20, "target": 20}, 20, {"source", "target"}),
        ({"words": 64, "places": 32}, 20, {"words"}),  # a vocabulary padded to a rounder size
        ({"words": 20}, 0, set()),
    ],
)
def test_names_belong_to_the_embedding_with_as_many_rows(rows, count, wanted):
    assert named_embeddings(rows, count) == wanted


def test_a_padded_vocabularys_last_tokens_are_numbers(bag):
    (look,) = token_looks(bag[2], NAMES[:15], count=0, shown=20)
    assert {name for name, _ in look.tokens[0].positive} == {*NAMES[:15], *(f"#{place}" for place in range(15, 20))}


def test_more_names_than_rows_are_refused(bag):
    with pytest.raises(InputError, match="got 21 names for embeddings of these numbers of rows: words 20, kinds 3"):
        token_looks(bag[2], [*NAMES, "more"])


def test_an_embedding_that_is_heard_by_nothing_is_left_out(bag):
    model, tokens, _ = bag
    silent = Bag().double()
    silent.load_state_dict({**model.state_dict(), "head.weight": torch.zeros(2, 5)})
    assert token_looks(measure(silent, tokens)) == ()


def test_the_nearest_tokens_have_the_largest_cosines(bag):
    table = bag[0].words.weight.detach()
    directions = torch.stack([table[3] * 7, -table[5]])
    cosines = torch.nn.functional.cosine_similarity(table[:, None], directions[None], dim=-1)
    first, second = nearest_tokens(table, directions, NAMES, count=3)
    assert first[0] == ("word3", pytest.approx(1))
    assert "word5" not in [name for name, _ in second]
    for place, found in enumerate((first, second)):
        best = cosines[:, place].sort(descending=True)
        assert [name for name, _ in found] == [NAMES[token] for token in best.indices[:3]]
        assert [cosine for _, cosine in found] == pytest.approx(best.values[:3].tolist())


def test_directions_of_another_width_are_refused(bag):
    with pytest.raises(InputError, match="got embeddings of width 5 and directions of width 4"):
        nearest_tokens(bag[0].words.weight.detach(), torch.ones(1, 4, dtype=torch.float64))
