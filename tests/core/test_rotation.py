"""Rotary positions: a turn is a complex product, and turns that are averaged are averaged exactly enough."""

import pytest
import torch

from nvib.rotation import Rotation, rotate_half, turned_back_by

HEADS, D = 3, 8


def rotation(length, rows=1, width=D, offset=0):
    positions = offset + torch.arange(length)[None] + 7 * torch.arange(rows)[:, None]
    frequencies = 10_000.0 ** (-torch.arange(width // 2) / (width // 2))
    angles = (positions[..., None] * frequencies).repeat(1, 1, 2)
    return Rotation(angles.cos(), angles.sin())


def drawn(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_a_turn_is_a_complex_product():
    turning, x = rotation(5, rows=2), drawn(2, HEADS, 5, D)
    as_complex = torch.complex(*x.chunk(2, -1)) * torch.complex(turning.cos, turning.sin)[:, None, :, : D // 2]
    torch.testing.assert_close(turning.turn(x), torch.cat((as_complex.real, as_complex.imag), -1))


def test_turning_back_undoes_a_turn_and_keeps_lengths():
    turning, x = rotation(5, rows=2), drawn(2, HEADS, 5, D)
    turned = turning.turn(x)
    torch.testing.assert_close(turning.turn_back(turned), x)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))


def test_scores_see_distances_alone():
    query, key = drawn(1, 1, 6, D)[:, :, :1].expand(1, 1, 6, D), drawn(1, 1, 7, D)[:, :, 6:].expand(1, 1, 6, D)
    near, far = (rotation(6, offset=offset).turn(query) @ rotation(6, offset=offset).turn(key).mT for offset in (0, 40))
    torch.testing.assert_close(near, far, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(near[0, 0, 3, 1], near[0, 0, 5, 3], rtol=1e-4, atol=1e-4)


def test_half_of_a_half_turn_is_the_vector_turned_round():
    x = drawn(2, D)
    torch.testing.assert_close(rotate_half(rotate_half(x)), -x)


def test_weighted_turns_are_the_sum_of_single_ones():
    turning, x = rotation(5), drawn(D)
    weights = torch.tensor([0.1, 0.2, 0.3, 0.15, 0.25])
    each = torch.stack([turning.turn_back(x.expand(1, 1, 5, D))[0, 0, n] for n in range(5)])
    halves = turned_back_by(x, weights @ turning.turns.columns[0])
    torch.testing.assert_close(torch.cat(halves), weights @ each)


@pytest.mark.parametrize("length", [1, 3, 64, 512])
def test_fewer_columns_hold_the_same_tables(length):
    turning = rotation(length, width=64)
    whole, few = turning.turns, turning.compressed
    assert few.count < whole.count == 64
    error = (few.columns @ few.basis - whole.columns).square().mean().sqrt()
    assert float(error) <= 4 * torch.finfo(torch.float32).eps


def test_a_row_has_tables_of_its_own_where_there_are_several():
    several, one = rotation(4, rows=3), rotation(4)
    assert torch.equal(several.of_row(2).cos, several.cos[2:])
    assert torch.equal(one.of_row(2).sin, one.sin)
