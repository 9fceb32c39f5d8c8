"""Tasks over images of one's own: which reader an address means, and what the task is then called."""

from __future__ import annotations

import pytest

from components.data import Folder, Npz, Parquet, WebDataset
from pipelines.tasks import Own, images


@pytest.mark.parametrize(
    ("url", "reader", "name"),
    [
        ("./flowers", Folder("./flowers"), "flowers"),
        ("s3://bucket/flowers/", Folder("s3://bucket/flowers/"), "flowers"),
        ("s3://bucket/flowers/*.tar", WebDataset("s3://bucket/flowers/*.tar"), "flowers"),
        ("s3://bucket/flowers-{000..012}.tar", WebDataset("s3://bucket", "flowers-{000..012}.tar"), "flowers"),
        ("s3://bucket/flowers.parquet", Parquet("s3://bucket/flowers.parquet"), "flowers"),
        ("flowers.npz", Npz("flowers.npz"), "flowers"),
        ("..", Folder(".."), "own"),
    ],
)
def test_an_address_says_how_it_is_read(url: str, reader: object, name: str) -> None:
    assert images(url) == reader
    assert Own(url).name == name


@pytest.mark.parametrize("shares", [{"held_out_share": 0.6, "test_share": 0.4}, {"held_out_share": 0.0}, {"test_share": -0.1}])
def test_shares_that_leave_nothing_are_named_by_their_flags(shares: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"--task\.held_out_share .* and --task\.test_share .* together less than 1"):
        Own("./flowers", **shares)
    assert Own("./flowers", test_url="./more", held_out_share=0.6, test_share=0.4).name == "flowers"
