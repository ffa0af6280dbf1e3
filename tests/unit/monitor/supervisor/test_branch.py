from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from monitor.supervisor.branch_swap import rows_until, swap_branch
from monitor.supervisor.start_errors import Held
from tests.harness.killed import killed_at
from tests.harness.supervisor import plan_for
from trainer_hooks.wire.plan import Checkpoint, Plan
from trainer_hooks.wire.runfolder import RunFolder


class Night:
    """Epochs 1 to 5 of a run, of which 4 and 5 are given up; best.pt is epoch 4's, epoch 3's lies in the vault."""

    def __init__(self, root: Path) -> None:
        self.save_dir = root / "train"
        self.weights = self.save_dir / "weights"
        self.folder = RunFolder(root / "run")
        self.folder.create()
        self.weights.mkdir(parents=True)
        for epoch in range(1, 6):
            (self.weights / f"epoch{epoch - 1}.pt").write_bytes(f"epoch {epoch}".encode())
        (self.weights / "last.pt").write_bytes(b"epoch 5")
        (self.weights / "best.pt").write_bytes(b"epoch 4")
        (self.save_dir / "results.csv").write_text("   epoch,  loss\n" + "".join(f"{e},{e}.5\n" for e in range(1, 6)))
        (self.save_dir / "args.yaml").write_text("lr0: 0.01\n")
        self.plan = plan_for(2, self.save_dir, self.kept(3), best=self.kept(2))

    def kept(self, epoch: int) -> Checkpoint:
        """What the vault holds of an epoch."""
        path = self.folder.vault / f"{epoch}.pt"
        path.write_bytes(f"epoch {epoch}".encode())
        return Checkpoint(path=str(path), digest=hashlib.sha256(f"epoch {epoch}".encode()).hexdigest(), epoch=epoch)

    def swap_branch(self, plan: Plan | None = None) -> None:
        swap_branch(self.folder, plan or self.plan, left=1)

    def tree(self) -> dict[str, bytes]:
        """Every file below the trainer's folder, and every folder."""
        found = sorted(self.save_dir.rglob("*"))
        return {str(p.relative_to(self.save_dir)): p.read_bytes() if p.is_file() else b"" for p in found}


@pytest.fixture
def night(tmp_path: Path) -> Night:
    return Night(tmp_path)


AFTERWARDS = {
    "args.yaml": b"lr0: 0.01\n",
    "results.csv": b"   epoch,  loss\n1,1.5\n2,2.5\n3,3.5\n",
    "weights": b"",
    "weights/abandoned-g1": b"",
    "weights/abandoned-g1/abandoned-best.pt": b"epoch 4",
    "weights/abandoned-g1/abandoned-epoch3.pt": b"epoch 4",
    "weights/abandoned-g1/abandoned-epoch4.pt": b"epoch 5",
    "weights/abandoned-g1/abandoned-last.pt": b"epoch 5",
    "weights/abandoned-g1/abandoned-results.csv": b"   epoch,  loss\n1,1.5\n2,2.5\n3,3.5\n4,4.5\n5,5.5\n",
    "weights/best.pt": b"epoch 2",
    "weights/epoch0.pt": b"epoch 1",
    "weights/epoch1.pt": b"epoch 2",
    "weights/epoch2.pt": b"epoch 3",
    "weights/last.pt": b"epoch 3",
}


def test_what_was_written_after_the_checkpoint_is_put_aside_and_the_chosen_state_takes_its_place(night: Night) -> None:
    night.swap_branch()
    assert night.tree() == AFTERWARDS


def test_a_step_that_is_done_is_never_done_again(night: Night) -> None:
    night.swap_branch()
    (night.weights / "last.pt").write_bytes(b"epoch 4, of the next generation")
    night.swap_branch()
    assert night.tree() == AFTERWARDS | {"weights/last.pt": b"epoch 4, of the next generation"}


def test_killed_at_any_file_operation_and_repeated_it_ends_the_same(tmp_path: Path) -> None:
    number = 1
    while True:
        night = Night(tmp_path / str(number))
        killed = killed_at(number, night.swap_branch)
        night.swap_branch()
        assert night.tree() == AFTERWARDS, f"killed at operation {number}"
        if not killed:
            break
        number += 1
    assert number > 20  # it was really killed, at many places


def test_a_last_that_is_the_chosen_one_stays_when_nothing_was_saved_since(night: Night) -> None:
    (night.weights / "last.pt").write_bytes(b"epoch 3")
    before = (night.weights / "last.pt").stat().st_ino
    night.swap_branch()
    assert (night.weights / "last.pt").stat().st_ino == before
    assert not (night.weights / "abandoned-g1" / "abandoned-last.pt").exists()
    assert not list(night.weights.glob(".staged*"))


def test_a_chosen_checkpoint_that_changed_holds_the_run_even_where_last_is_right(night: Night) -> None:
    (night.weights / "last.pt").write_bytes(b"epoch 3")
    Path(night.kept(3).path).write_bytes(b"epoch 3?")
    before = night.tree()
    with pytest.raises(Held, match="its bytes are not those the plan chose"):
        night.swap_branch()
    assert night.tree() == before


def test_a_step_with_nothing_to_do_leaves_nothing_behind(night: Night) -> None:
    night.swap_branch(plan_for(2, night.save_dir, night.kept(5), best=night.kept(4)))
    assert not list(night.weights.glob(".staged*"))
    assert not (night.weights / "abandoned-g1").exists()


def test_a_best_that_is_already_the_right_one_stays(night: Night) -> None:
    night.swap_branch(plan_for(2, night.save_dir, night.kept(3), best=night.kept(4)))
    assert (night.weights / "best.pt").read_bytes() == b"epoch 4"
    assert not (night.weights / "abandoned-g1" / "abandoned-best.pt").exists()


def test_without_a_best_of_that_state_none_is_left(night: Night) -> None:
    night.swap_branch(plan_for(2, night.save_dir, night.kept(3)))
    assert not (night.weights / "best.pt").exists()
    assert (night.weights / "abandoned-g1" / "abandoned-best.pt").read_bytes() == b"epoch 4"


def test_a_best_whose_bytes_changed_is_left_out_and_said(night: Night) -> None:
    best = night.kept(2)
    Path(best.path).write_bytes(b"something else")
    branch = swap_branch(night.folder, plan_for(2, night.save_dir, night.kept(3), best=best), left=1)
    assert "Could not put best.pt back" in branch.remarks[0]
    assert not (night.weights / "best.pt").exists()
    assert (night.weights / "last.pt").read_bytes() == b"epoch 3"


def test_nothing_is_moved_when_the_checkpoint_is_not_the_one_that_was_chosen(night: Night) -> None:
    before = night.tree()
    Path(night.kept(3).path).write_bytes(b"epoch 3?")
    with pytest.raises(Held, match="its bytes are not those the plan chose"):
        night.swap_branch()
    assert night.tree() == before


def test_nothing_is_moved_when_the_checkpoint_is_gone(night: Night) -> None:
    before = night.tree()
    (night.folder.vault / "3.pt").unlink()
    with pytest.raises(Held, match="cannot move the abandoned branch aside"):
        night.swap_branch()
    assert night.tree() == before


def test_nothing_is_moved_through_a_link_that_leads_out_of_the_folder(night: Night, tmp_path: Path) -> None:
    outside = tmp_path / "precious.pt"
    outside.write_bytes(b"precious")
    (night.weights / "last.pt").unlink()
    (night.weights / "last.pt").symlink_to(outside)
    before = night.tree()
    with pytest.raises(Held, match="leads out of"):
        night.swap_branch()
    assert night.tree() == before
    assert outside.read_bytes() == b"precious"


def test_a_trainer_without_a_weights_folder_has_nothing_put_aside(night: Night, tmp_path: Path) -> None:
    branch = swap_branch(night.folder, plan_for(2, tmp_path / "elsewhere", night.kept(3)), left=1)
    assert branch.aside == ()
    assert branch.done


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("epoch,a\n1,2\n2,3\n", "epoch,a\n1,2\n"),
        ("epoch,a\n1,2\n", "epoch,a\n1,2\n"),
        ("  epoch,a\n      1,2\n      2,3\n", "  epoch,a\n      1,2\n"),
        ("epoch,a\n1,2\n2,", "epoch,a\n1,2\n"),
        ("epoch,a\n1,2\nx\n\n", "epoch,a\n1,2\n"),
        ("", ""),
    ],
)
def test_rows_after_the_checkpoint_and_torn_ones_are_cut(text: str, kept: str) -> None:
    assert rows_until(text, 1) == kept
