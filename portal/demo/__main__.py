"""The command line of the demo: what happens before and after the story, and when it is broken off."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import httpx

from portal.demo.browser import PageError
from portal.demo.screen import Screen
from portal.demo.stage import Stage
from portal.demo.story import Story
from portal.demo.watch import explain
from portal.embedded.home import StartError


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m portal.demo", description="Show the whole way, from sign-up to results, through the web pages."
    )
    parser.add_argument("--port", type=int, help="the port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--no-keep", action="store_true", help="remove what the demo made, and end")
    chosen = parser.parse_args(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    return Demo(Screen(), Stage(chosen.port), keep=not chosen.no_keep).run()


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class Demo:
    """One showing."""

    def __init__(self, screen: Screen, stage: Stage, *, keep: bool) -> None:
        self.screen, self.stage, self.keep = screen, stage, keep
        self.story = Story(stage, screen)
        self.began = time.monotonic()

    def run(self) -> int:
        """Returns 0 only if every step happened."""
        self.screen.say("Bodo Cloud Platform, from sign-up to results, through its web pages\n")
        try:
            with self.screen.step("Start the portal") as step:
                self.stage.start()
                step.tell(f"at {self.stage.address}, data and logs in {self.stage.place}")
            self.story.tell()
            if not self.keep:
                self.story.remove()
        except StartError as error:
            return self._failed(str(error).splitlines(), logs=False)  # the launcher has put into words what they say
        except PageError as error:
            return self._failed(explain(error))
        except httpx.HTTPError as error:
            return self._failed([f"The portal did not answer: {error!r}"])
        except KeyboardInterrupt:
            self.screen.say("\nInterrupted. Stopping …")
            self._clear_up()
            return 130
        except BaseException:
            self._clear_up()
            raise
        return self._stay() if self.keep else self._end()

    def _stay(self) -> int:
        """Report, and keep the portal until Ctrl-C."""
        self._report()
        assert self.stage.server is not None
        try:
            while self.stage.server.poll() is None:
                time.sleep(0.5)
            self.screen.say(f"The portal ended by itself:\n{self.stage.server.said()}")
            self.stage.stop()
            return 1
        except KeyboardInterrupt:
            self.screen.say("\nStopping …")
        try:
            with suppress(Exception):  # the failure that came first is the one to report
                self.story.pause_again()
        except KeyboardInterrupt:
            self.screen.say("At once.")
        self.stage.stop()
        self.screen.say("Stopped.")
        return 0

    def _end(self) -> int:
        """Stop, and look that nothing is left."""
        with self.screen.step("Stop the portal and look that nothing is left"):
            self.stage.stop()
        left = self.stage.left_over()
        if left:
            return self._failed(["These processes are left:", *left])
        self.stage.remove()
        what = "Nothing is left." if self.stage.is_new else f"No process is left, only the data in {self.stage.place}."
        self.screen.say(f"\nEvery step happened, in {time.monotonic() - self.began:.0f} s. {what}")
        return 0

    def _failed(self, lines: Sequence[str], *, logs: bool = True) -> int:
        self.screen.say("\nThe demo failed.")
        for line in lines:
            self.screen.say(f"  {line}")
        for log, said in self.stage.said().items() if logs else ():
            self.screen.say(f"\n{log}")
            for line in said:
                self.screen.say(f"  {line[:300]}")
        self._clear_up()
        return 1

    def _clear_up(self) -> None:
        """Leave no process behind; data and logs stay, to be looked at."""
        if self.stage.server is None:
            return
        try:
            with suppress(Exception):  # the failure that came first is the one to report
                self.story.remove()
        except KeyboardInterrupt:
            self.screen.say("At once.")
        self.stage.stop()
        self.screen.say(f"Stopped. Data and logs are in {self.stage.place}.")

    def _report(self) -> None:
        story, account = self.story, self.story.account
        self.screen.say(f"\nEvery step happened, in {time.monotonic() - self.began:.0f} s. The portal is yours:\n")
        for name, value in (
            ("Address", self.stage.address),
            ("E-mail", account.email),
            ("Password", account.password),
            ("Workspace", story.workspace_page),
        ):
            self.screen.say(f"  {name:10} {value}")
        self.screen.say(f"\nStop it with Ctrl-C. Its data stays in {self.stage.place}, beside that of the next demo.")
        self.screen.say("`make run` starts a portal of your own.")


if __name__ == "__main__":
    sys.exit(main())
