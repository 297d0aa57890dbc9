"""The main job, step by step, through the pages."""

from __future__ import annotations

import email
import email.policy
import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urljoin

from portal.demo import data
from portal.demo.browser import Browser, Form, Page, PageError, poll, text_of
from portal.demo.screen import Screen, Step
from portal.demo.stage import Stage
from portal.demo.watch import Log, expect, follow, status_of

INSTALL_SECONDS = 3600.0  # a Bodo release over a slow line
DEPLOY_SECONDS = 120.0
RUN_SECONDS = 600.0
INSTANCES = 2
FAILED = frozenset({"FAILED"})
ENDS = {"SUCCEEDED", "FAILED", "CANCELLED", "TIMEOUT"}
LEAST_FLIGHTS = 50_000
QUERY = """\
select carrier, count(*) as flights, avg(dep_delay) as mean_delay
from flights
group by carrier
having count(*) >= @least
order by flights desc"""
"""Over flights.parquet, which the first job wrote."""

BILLED_SECONDS = 31.0  # 30 seconds are rounded up to a minute, 29 down to none


@dataclass
class Account:
    """Who the demo signs up, anew each time."""

    organization: str = field(default_factory=lambda: f"Demo {datetime.now():%Y-%m-%d %H:%M} {secrets.token_hex(2)}")
    email: str = field(default_factory=lambda: f"ada.{secrets.token_hex(3)}@example.com")
    password: str = field(default_factory=lambda: secrets.token_urlsafe(12))


class Story:
    """The steps, in the order in which ``tell`` calls them, and what they leave for each other."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        self.stage, self.screen = stage, screen
        self.account = Account()
        self.browser = Browser(stage.address)
        self.start_page = ""
        self.workspace_page = ""
        self.cluster_page = ""
        self.running_since = 0.0

    def tell(self) -> None:
        """All of it. Raises PageError where something is not as it should be."""
        self.sign_up()
        self.activate()
        self.sign_in()
        self.connect_cloud()
        self.create_workspace()
        self.create_cluster()
        self.upload_files()
        self.run_over_real_data()
        self.query_real_data()
        self.run_over_generated_rows()
        self.pause_cluster()
        self.read_bill()

    # --- people -----------------------------------------------------------------------------------------------------

    def sign_up(self) -> None:
        with self.screen.step("Sign up") as step:
            form = self.browser.get("/").click("Sign up").form("Sign up")
            form["Organization name"] = self.account.organization
            form["First name"] = "Ada"
            form["Last name"] = "Lovelace"
            form["Email"] = self.account.email
            form["Password"] = self.account.password
            form["I accept the terms and conditions"] = True
            page = form.submit()
            expect(page.heading == "Check your e-mail", "There was no page that asks to check the e-mail.", page)
            step.tell(f"{self.account.email} asks for the organization “{self.account.organization}”")

    def activate(self) -> None:
        with self.screen.step("Activate with the link from the e-mail") as step:
            link = self._activation_link()
            step.tell(f"e-mail in {self.stage.home.path / 'mail'}")
            page = self.browser.get(link).form("Activate").submit()
            expect(page.heading == "Sign in", "The activation did not lead to the sign-in page.", page)

    def _activation_link(self) -> str:
        for _ in poll(30):
            for path in sorted((self.stage.home.path / "mail").glob("*.log"), reverse=True):
                message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
                body = message.get_body(("plain",))
                found = re.search(r"https?://\S+/activate/\S+", body.get_content() if body else "")
                if self.account.email in str(message["To"]) and found:
                    return found[0]
        raise PageError(f"No e-mail to {self.account.email} came into {self.stage.home.path / 'mail'}.")

    def sign_in(self) -> None:
        with self.screen.step("Sign in"):
            form = self.browser.get("/").click("Sign in").form("Sign in")
            form["Email"] = self.account.email
            form["Password"] = self.account.password
            page = form.submit()
            expect(page.heading == "Workspaces", "Signing in did not lead to the workspaces.", page)
            self.start_page = page.address

    # --- cloud and workspace ----------------------------------------------------------------------------------------

    def connect_cloud(self) -> None:
        with self.screen.step("Connect this machine as a cloud") as step:
            form = self.browser.get(self.start_page).click("Create configuration").form("Validate")
            form["Name"] = "This machine"
            page = form.submit()
            for check in page.soup.select(".check"):
                mark = "+" if "passed" in check["class"] else "-"
                step.tell(f"{mark} {text_of(check).removeprefix('Passed: ')}")
            checks, failed = page.soup.select(".check"), page.soup.select(".check.failed")
            expect(bool(checks) and not failed, "Not all checks of this machine passed.", page)
            page = page.form("Create").submit()
            expect(page.heading == "Configurations", "The configuration was not created.", page)
            expect("This machine" in page.text("main"), "The configuration is not in the list.", page)

    def create_workspace(self) -> None:
        with self.screen.step("Create a workspace") as step:
            form = self.browser.get(self.start_page).click("Create workspace").form("Create workspace")
            form["Name"] = "Flights"
            page = form.submit()
            row = follow(page, {"READY"}, failures=FAILED, seconds=DEPLOY_SECONDS, step=step)
            step.tell("it is READY")
            self.workspace_page = row.click("Flights").address

    def upload_files(self) -> None:
        with self.screen.step("Upload two job files and a real data set") as step:
            folder = self.stage.home.path / "tmp" / "demo"
            folder.mkdir(parents=True, exist_ok=True)
            self.flights, self.airlines = data.unpack(folder)
            files = [data.EXAMPLES / "flights.py", data.EXAMPLES / "ten_million_rows.py", self.flights, self.airlines]
            form = self.browser.get(self.workspace_page).form("Upload")
            form["file"] = files
            page = form.submit()
            listed = {text_of(cell) for cell in page.soup.select("td.name")}
            expect({file.name for file in files} <= listed, "Not all files are in the list.", page)
            for file in files:
                step.tell(f"{file.name:20} {file.stat().st_size / 1e6:8.3f} MB")

    # --- cluster ----------------------------------------------------------------------------------------------------

    def create_cluster(self) -> None:
        with self.screen.step(f"Create a cluster of {INSTANCES} instances") as step:
            clusters = self.browser.get(self.workspace_page).click("Clusters")
            form = clusters.click("Create cluster").form("Create cluster")
            form["Cluster name"] = "demo"
            form["Instance type"] = "local.1x"
            form["Number of instances"] = INSTANCES
            form["Auto-pause"] = 60
            page = form.submit()
            self.cluster_page = page.address
            page = follow(page, {"RUNNING"}, failures=FAILED, seconds=INSTALL_SECONDS, step=step)
            self.running_since = time.monotonic()
            for _ in poll(30):  # the nodes are seen a moment later
                rows = page.soup.select("section[aria-labelledby=nodes] tbody tr")
                if [status_of(row) for row in rows] == ["HEALTHY"] * INSTANCES:
                    break
                page = self.browser.get(page.address)
            else:
                raise PageError(f"The page does not show {INSTANCES} healthy nodes.", page)
            step.tell(f"{len(rows)} nodes are healthy")

    def pause_cluster(self) -> None:
        with self.screen.step("Pause the cluster") as step:
            while (missing := self.running_since + BILLED_SECONDS - time.monotonic()) > 0:
                step.progress("less than 30 s would be 0 minutes on the bill", 1 - missing / BILLED_SECONDS)
                time.sleep(min(missing, 0.5))
            self.pause(step)

    def pause(self, step: Step) -> None:
        """Pause and wait for it."""
        page = self.browser.get(self.cluster_page).form("Pause").submit()
        follow(page, {"PAUSED"}, failures=FAILED, seconds=DEPLOY_SECONDS, step=step)
        step.tell("it is PAUSED: no machine runs, the disks are kept")

    def pause_again(self) -> None:
        """If somebody resumed it while the demo's portal was kept."""
        if self.cluster_page and self.browser.get(self.cluster_page).has_button("Pause"):
            with self.screen.step("Pause the cluster") as step:
                self.pause(step)

    # --- jobs -------------------------------------------------------------------------------------------------------

    def run_over_real_data(self) -> None:
        with self.screen.step("Run a job over 336,776 real flights (spawn mode)") as step:
            log = self.run_job("average delays", "flights.py", "spawn", step)
            right = data.carriers(self.flights, self.airlines)
            total = sum(carrier.flights for carrier in right.values())
            expect(f"{INSTANCES} workers" in log, f"The job did not run on {INSTANCES} workers.")
            expect(f"{total:,} flights" in log, f"The job did not find {total:,} flights.")
            found = re.findall(r"^ *(\w\w) +(\d+) +(-?[\d.]+) +(.+?) *$", log, re.MULTILINE)
            result = {code: data.Carrier(int(count), float(mean), name) for code, count, mean, name in found}
            expect(result.keys() == right.keys(), "The report does not have one line for each carrier.")
            for code, carrier in right.items():
                same = (result[code].flights, result[code].name) == (carrier.flights, carrier.name)
                near = abs(result[code].mean_delay - carrier.mean_delay) < 1e-4
                expect(same and near, f"The report says {result[code]} of {code}; it has to be {carrier}.")
            step.tell(f"right: all {len(right)} carriers as the csv module counts them")

    def query_real_data(self) -> None:
        with self.screen.step("Ask the same flights with SQL") as step:
            form = self._new_job("busy airlines")
            form["code_type"] = "SQL"
            form = form.submit().form("Next: Options")
            form["Query"] = QUERY
            form["Parameters"] = f"least={LEAST_FLIGHTS}"
            page, _ = self._run(form.submit().form("Next: Cluster").submit().form("Run job"), step)
            rows = [[text_of(cell) for cell in row.select("td")] for row in page.soup.select(".result-table tbody tr")]
            right = data.carriers(self.flights, self.airlines)
            busy = {code: carrier for code, carrier in right.items() if carrier.flights >= LEAST_FLIGHTS}
            found = {code: (int(flights), round(float(delay), 4)) for code, flights, delay in rows}
            wanted = {code: (carrier.flights, round(carrier.mean_delay, 4)) for code, carrier in busy.items()}
            expect(found == wanted, f"The result says {found}; it has to be {wanted}.", page)
            expect("result/part-00000.parquet" in page.text("main"), "The result's Parquet file is not offered.", page)
            step.tell(
                f"right: {len(rows)} airlines with {LEAST_FLIGHTS:,} flights or more, as the csv module counts them"
            )

    def run_over_generated_rows(self) -> None:
        with self.screen.step("Run a job over 10 million generated rows (SPMD mode)") as step:
            log = self.run_job("ten million rows", "ten_million_rows.py", "spmd", step)
            rows = data.GENERATED_ROWS
            expect(f"{INSTANCES} workers, {rows:,} rows" in log, f"The job did not run on {INSTANCES} workers.")
            digits = [digit for found in re.findall(r"holds the digits \[(.*)\]", log) for digit in found.split(", ")]
            expect(sorted(digits) == list("0123456789"), "The ten groups are not shared out among the workers.")
            expect(f"rows {rows}\n" in log, f"The job did not count {rows} rows.")
            total = rows * (rows - 1) // 2
            expect(f"sum {total}\n" in log, f"The sum is not {total}.")
            step.tell(f"right: {rows:,} rows with the sum n (n - 1) / 2 = {total:,}")

    def run_job(self, name: str, file: str, mode: str, step: Step) -> str:
        """Submit a file, print its log as it grows, and return all of it. Raises PageError unless it SUCCEEDED."""
        form = self._new_job(name).submit().form("Next: Options")
        form["File"] = file
        form = form.submit().form("Next: Cluster")
        form["mode"] = mode
        return self._run(form.submit().form("Run job"), step)[1]

    def _new_job(self, name: str) -> Form:
        """The first step of its form."""
        form = self.browser.get(self.workspace_page).click("Jobs").click("Run job").form("Next: Source")
        form["Run name"] = name
        return form

    def _run(self, form: Form, step: Step) -> tuple[Page, str]:
        """Submit the last step, print the log as it grows, and return the page of the end, and all of the log."""
        form["Cluster"] = "demo"
        page = form.submit()
        log = Log(self.browser, urljoin(page.address, str(page.select("[data-log]")["data-log"])))

        def show(piece: Page) -> None:
            for line in log.more():
                step.tell(f"| {line}")
            step.progress(status_of(piece.soup), None)

        try:
            piece = follow(page, ENDS, seconds=RUN_SECONDS, step=step, show=show)
            for _ in poll(10, 0.05):
                show(piece)
                if log.complete:
                    break
            end = status_of(piece.soup)
            expect(end == "SUCCEEDED", f"The job ended as {end}.", piece)
        except PageError:
            errors = self.browser.fetch(log.address, {"stream": "stderr", "offset": "-4000"}).text
            for line in errors.splitlines()[-30:]:
                step.tell(f"stderr | {line}")
            raise
        return self.browser.get(page.address), log.text

    # --- bill -------------------------------------------------------------------------------------------------------

    def read_bill(self) -> None:
        with self.screen.step("Read the bill") as step:
            page = self.browser.get(self.start_page).click("Billing")
            by_cluster = self.browser.get(urljoin(page.address, "?by=cluster"))
            lines = by_cluster.soup.select("section[aria-labelledby=lines] tbody tr")
            intervals = page.click("All intervals").soup.select("section[aria-label=Intervals] tbody tr")
            expect(len(lines) == 1 and len(intervals) == 1, "The bill does not have one line and one interval.", page)
            cells = {str(cell.get("data-label", "Cluster")): text_of(cell) for cell in lines[0].select("td")}
            interval = {str(cell.get("data-label", "Cluster")): text_of(cell) for cell in intervals[0].select("td")}
            times = [datetime.fromisoformat(str(time_["datetime"])) for time_ in intervals[0].select("time")]
            expect(len(times) == 2, "The interval has no end, although the cluster is paused.", page)
            seconds = (times[1] - times[0]).total_seconds()
            # The page shows whole seconds, so that either neighbour of half a minute may be right.
            right = {int((seconds + 30 + part) // 60) * INSTANCES for part in (-0.99, 0, 0.99)}
            minutes = int(cells["Instance minutes"])
            expect(minutes in right and minutes > 0, f"{seconds:.0f} s are not {minutes} instance minutes.", page)
            rate = float(interval["Rate per hour"])
            cost = minutes * rate / 60
            costs = [float(value) for label, value in cells.items() if label.startswith("Cost")]
            expect(len(costs) == 1 and abs(costs[0] - cost) <= 0.00501, f"The cost is not {cost:.4f}.", page)
            step.tell(f"{cells['Cluster']}: {interval['Machines']} for {seconds:.0f} s")
            step.tell(f"{minutes} instance minutes at {rate} USD an hour: {cost:.3f} USD")

    # --- the end ----------------------------------------------------------------------------------------------------

    def remove(self) -> None:
        """Delete what the story made, through the pages, as far as it came."""
        if self.cluster_page:
            with self.screen.step("Delete the cluster") as step:
                page = self.browser.get(self.cluster_page)
                if page.has_button("Delete"):
                    page = page.form("Delete").submit()
                if status_of(page.select("#cluster-live")) != "TERMINATED":
                    follow(page, {"TERMINATED"}, seconds=DEPLOY_SECONDS, step=step)
        if self.workspace_page:
            with self.screen.step("Delete the workspace"):
                page = self.browser.get(self.workspace_page).click("Settings").form("Delete workspace").submit()
                for _ in poll(DEPLOY_SECONDS):
                    if "Flights" not in {text_of(name) for name in page.soup.select("td.name")}:
                        break
                    page = self.browser.get(page.address)
                else:
                    raise PageError("The workspace is still in the list.", page)
        if self.start_page:
            with self.screen.step("Delete the cloud configuration"):
                page = self.browser.get(self.start_page).click("Configurations")
                if page.has_button("Delete"):
                    page = page.form("Delete", action="/configurations/").submit()
                expect(not page.has_button("Delete"), "The configuration is still in the list.", page)
