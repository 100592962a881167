"""What a visitor sees of the site, and what it refuses."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.site.visitor import Page, Visitor

pytestmark = pytest.mark.engine

POST = "/posts/one-file-is-a-fine-database"
WRITERS = 8
ROUNDS = 10


def posts(page: Page) -> list[str]:
    """The addresses of the listed posts."""
    links = [link.attributes.get("href", "") for link in page.elements("a")]
    return [link for link in dict.fromkeys(links) if link.startswith("/posts/") and "#" not in link]


def comments(page: Page) -> dict[str, str]:
    """The texts of the comments of this page by their ids."""
    found = page.elements("article", "comment")
    assert len({comment.attributes["data-id"] for comment in found}) == len(found)
    return {comment.attributes["data-id"]: comment.text for comment in found}


def all_comments(visitor: Visitor, path: str) -> dict[str, str]:
    """Of all pages, from the first on; none is on two of them."""
    found: dict[str, str] = {}
    while path:
        page = visitor.get(path)
        here = comments(page)
        assert not found.keys() & here.keys()
        found |= here
        on = [one.attributes["href"] for one in page.elements("a") if one.attributes.get("rel") == "next"]
        path = on[0] if on else ""
    return found


class TestReading:
    def test_there_are_thirty_posts_ten_a_page(self, visitor: Visitor) -> None:
        pages = [posts(visitor.get(f"/?page={number}")) for number in (1, 2, 3)]
        assert [len(page) for page in pages] == [10, 10, 10]
        assert len(set().union(*pages)) == 30
        assert posts(visitor.get("/")) == pages[0]

    @pytest.mark.parametrize("number", ["0", "4", "-1", "99999999999999999999"])
    def test_there_are_no_other_pages(self, visitor: Visitor, number: str) -> None:
        assert visitor.get(f"/?page={number}").status == 404

    def test_a_post_shows_its_text_its_tags_and_its_comments(self, visitor: Visitor) -> None:
        page = visitor.get(POST)
        assert page.status == 200
        assert page.elements("h1")[0].text == "One file is a fine database"
        assert "SQLite is not a toy" in page.text
        assert {"databases", "operations"} <= {link.text for link in page.elements("a")}
        assert len(comments(page)) == 4

    def test_a_tag_shows_its_posts_alone(self, visitor: Visitor) -> None:
        page = visitor.get("/?tag=gardening")
        assert 0 < len(posts(page)) < 10
        for path in posts(page):
            assert "gardening" in {link.text for link in visitor.get(path).elements("a")}

    def test_an_unknown_tag_has_no_posts(self, visitor: Visitor) -> None:
        page = visitor.get("/?tag=%3Cb%3Enothing")
        assert page.status == 200
        assert not posts(page)
        assert "<b>nothing" not in page.html

    def test_a_tag_that_is_a_list_is_ignored(self, visitor: Visitor) -> None:
        assert len(posts(visitor.get("/?tag%5B%5D=php"))) == 10

    @pytest.mark.parametrize("path", ["/nothing", "/posts/nothing"])
    def test_a_page_that_is_missing_is_a_page_of_the_site(self, visitor: Visitor, path: str) -> None:
        page = visitor.get(path)
        assert page.status == 404
        assert "There is no such page" in page.text
        assert page.elements("footer")

    @pytest.mark.parametrize("path", ["/", "/?page=2", "/?tag=php", POST, "/nothing", "/healthz"])
    def test_who_only_reads_gets_no_cookie(self, visitor: Visitor, path: str) -> None:
        assert visitor.get(path).cookies == []

    @pytest.mark.parametrize("path", ["/", POST, "/login", "/nothing"])
    def test_the_footer_names_what_serves_the_page(self, visitor: Visitor, container: str, path: str) -> None:
        footer = visitor.get(path).elements("footer")[0]
        assert footer.attributes["data-release"] == "v1"
        assert footer.attributes["data-arch"] in ("x86_64", "aarch64")
        assert footer.attributes["data-instance"] == container[:12]
        assert footer.attributes["data-started"] == "2026-01-02T03:04:05Z"
        for value in ("v1", container[:12], footer.attributes["data-arch"], "2 January 2026, 03:04:05 UTC"):
            assert value in footer.text

    def test_browsers_are_told_to_load_nothing_foreign(self, visitor: Visitor) -> None:
        page = visitor.get("/")
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        assert not page.elements("script")
        assert not page.elements("style")

    def test_the_style_sheet_is_there(self, visitor: Visitor) -> None:
        sheet = next(
            link for link in visitor.get("/").elements("link") if link.attributes["rel"] == "stylesheet"
        )
        assert visitor.get(sheet.attributes["href"]).headers["Content-Type"].startswith("text/css")

    def test_a_reader_does_not_wait_for_a_writer(self, visitor: Visitor, container: str) -> None:
        write = (
            "$db = new PDO('sqlite:data/database.sqlite'); $db->exec('BEGIN EXCLUSIVE'); echo 'locked';"
            "flush(); fgets(STDIN);"
        )
        command = ["docker", "exec", "--interactive", container, "php8.2", "-r", write]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.read(6) == b"locked"
            answer = visitor.get(POST)
            assert writer.poll() is None
            writer.communicate()
        assert answer.status == 200

    def test_healthz_says_ok_in_plain_text(self, visitor: Visitor) -> None:
        page = visitor.get("/healthz")
        assert (page.status, page.html.strip()) == (200, "ok")
        assert page.headers["Content-Type"].startswith("text/plain")


class TestLogin:
    def test_the_login_page_names_the_accounts(self, visitor: Visitor) -> None:
        text = visitor.get("/login").text
        for word in ("jane_admin", "tom_admin", "john_user", "kitten"):
            assert word in text

    @pytest.mark.parametrize(
        ("name", "full_name"),
        [("jane_admin", "Jane Doe"), ("tom_admin", "Tom Doe"), ("john_user", "John Doe")],
    )
    def test_login_and_logout(self, visitor: Visitor, name: str, full_name: str) -> None:
        answer = visitor.log_in(name)
        assert (answer.status, answer.location) == (302, "/")
        assert full_name in visitor.get("/").elements("header")[0].text
        answer = visitor.log_out()
        assert (answer.status, answer.location) == (302, "/")
        assert full_name not in visitor.get("/").elements("header")[0].text

    def test_who_reads_a_post_of_their_own_stays_logged_in(self, jane: Visitor) -> None:
        assert "Jane Doe" in jane.get(posts(jane.get("/"))[0]).elements("header")[0].text
        assert "Jane Doe" in jane.get("/").elements("header")[0].text

    def test_login_makes_a_new_session(self, visitor: Visitor) -> None:
        visitor.get("/login")
        before = dict(visitor.cookies)
        visitor.log_in("jane_admin")
        assert visitor.cookies.keys() == before.keys()
        assert visitor.cookies != before

    @pytest.mark.parametrize(("name", "password"), [("jane_admin", "puppy"), ("nobody", "kitten"), ("", "")])
    def test_a_wrong_password_or_name_is_refused(self, visitor: Visitor, name: str, password: str) -> None:
        assert visitor.log_in(name, password).location == "/login"
        page = visitor.get("/login")
        assert "Invalid credentials" in page.text
        assert page.form("_username").values["_username"] == name

    def test_login_without_its_token_is_refused(self, visitor: Visitor) -> None:
        visitor.get("/login")
        assert visitor.post("/login", {"_username": "jane_admin", "_password": "kitten"}).location == "/login"
        assert "Invalid CSRF token" in visitor.get("/login").text

    def test_logout_without_its_token_is_refused(self, john: Visitor) -> None:
        assert john.post("/logout", {}).status == 403
        assert john.get("/logout").status == 405
        assert "John Doe" in john.get("/").text

    def test_login_returns_to_the_post_it_began_at(self, visitor: Visitor) -> None:
        link = next(
            link for link in visitor.get(POST).elements("a") if "_target_path" in link.attributes["href"]
        )
        form = visitor.get(link.attributes["href"]).form("_username")
        answer = visitor.submit(form, {"_username": "john_user", "_password": "kitten"})
        assert answer.location.startswith(POST)

    @pytest.mark.parametrize("target", ["https://example.org/", "//example.org/", "/\\example.org"])
    def test_login_does_not_lead_to_another_site(self, visitor: Visitor, target: str) -> None:
        form = visitor.get("/login").form("_username")
        answer = visitor.submit(
            form, {"_username": "john_user", "_password": "kitten", "_target_path": target}
        )
        assert answer.status == 302
        assert answer.headers["Location"].startswith((f"http://{visitor.address}/", "/"))
        assert not answer.headers["Location"].startswith(("//", "/\\"))


class TestComments:
    def test_a_comment_is_published(self, john: Visitor, visitor: Visitor) -> None:
        answer = john.comment(POST, "Said by a test.\nOn two lines.")
        assert answer.status == 303
        path, _, fragment = answer.location.partition("#")
        assert path == POST
        said = comments(visitor.get(POST))[fragment.removeprefix("comment-")]
        assert "John Doe" in said
        assert "Said by a test.\nOn two lines." in said.replace("\r\n", "\n")

    def test_fifty_comments_are_on_a_page_and_one_leads_to_its_own(self, john: Visitor) -> None:
        path = "/posts/bread-that-waits-for-you"
        there = len(all_comments(john, path))
        form = john.get(path).form("comment[content]")
        answers = [john.submit(form, {"comment[content]": f"number {number}"}) for number in range(51)]
        assert len(comments(john.get(path))) == 50
        assert len(all_comments(john, path)) == there + 51
        place, _, fragment = answers[-1].location.partition("#comment-")
        assert place == f"{path}?page=2"
        assert "number 50" in comments(john.get(place))[fragment]
        assert f"{there + 51} comments" in john.get(path).text
        for number in ("0", "3", "-1"):
            assert john.get(f"{path}?page={number}").status == 404

    @pytest.mark.parametrize("text", ["", "   ", "\n\n"])
    def test_a_blank_comment_is_refused(self, john: Visitor, text: str) -> None:
        before = comments(john.get(POST))
        answer = john.comment(POST, text)
        assert answer.status == 422
        assert "Please write something" in answer.text
        assert comments(john.get(POST)) == before

    def test_a_comment_has_at_most_ten_thousand_characters(self, john: Visitor) -> None:
        answer = john.comment(POST, "ä" * 10001)
        assert answer.status == 422
        assert "at most 10000 characters" in answer.text
        assert answer.form("comment[content]").values["comment[content]"] == "ä" * 10001
        assert john.comment(POST, "ä" * 10000).status == 303

    @pytest.mark.parametrize("token", [{}, {"comment[_token]": "wrong"}])
    def test_a_comment_without_its_token_is_refused(self, john: Visitor, token: dict[str, str]) -> None:
        before = comments(john.get(POST))
        assert john.post(POST, {"comment[content]": "Forged", **token}).status == 422
        assert comments(john.get(POST)) == before

    def test_an_empty_request_is_refused(self, john: Visitor) -> None:
        assert john.post(POST, {}).status == 422

    def test_a_stranger_is_led_to_the_login(self, visitor: Visitor) -> None:
        answer = visitor.post(POST, {"comment[content]": "Nobody said this"})
        assert (answer.status, answer.location) == (302, "/login")
        assert "Nobody said this" not in visitor.get(POST).html

    def test_a_missing_post_takes_no_comment(self, john: Visitor) -> None:
        assert john.post("/posts/nothing", {"comment[content]": "Lost"}).status == 404

    def test_html_in_a_comment_is_shown_as_it_was_written(self, john: Visitor) -> None:
        john.comment(POST, "<script>alert(1)</script> & <b>bold</b>")
        page = john.get(POST)
        assert not page.elements("script")
        assert any("<script>alert(1)</script> & <b>bold</b>" in text for text in comments(page).values())

    def test_eight_commenters_at_once_lose_nothing(self, login: Callable[[str], Visitor]) -> None:
        path = "/posts/the-queue-at-the-post-office"

        def write(writer: int) -> list[tuple[str, Page]]:
            visitor = login("jane_admin")
            form = visitor.get(path).form("comment[content]")
            texts = [f"writer-{writer} round-{number}." for number in range(ROUNDS)]
            return [(text, visitor.submit(form, {"comment[content]": text})) for text in texts]

        with ThreadPoolExecutor(WRITERS) as pool:
            written = [one for some in pool.map(write, range(WRITERS)) for one in some]
        assert {answer.status for _, answer in written} == {303}
        found = all_comments(login("john_user"), path)
        for text, answer in written:
            assert text in found[answer.location.partition("#comment-")[2]]
            assert sum(text in said for said in found.values()) == 1


class TestAdministration:
    FIELDS = ("title", "summary", "content", "tags")

    def write(self, jane: Visitor, path: str = "/admin/posts/new", **values: str) -> Page:
        form = jane.get(path).form("post[title]")
        return jane.submit(form, {f"post[{name}]": value for name, value in values.items()})

    def edit_page(self, jane: Visitor, post: str) -> str:
        links = [link.attributes.get("href", "") for link in jane.get(post).elements("a")]
        return next(link for link in links if link.startswith("/admin/posts/") and link.endswith("/edit"))

    def delete(self, jane: Visitor, post: str) -> Page:
        form = jane.get(self.edit_page(jane, post)).form("_token")
        return jane.submit(form, {})

    def test_a_stranger_is_led_to_the_login_and_back(self, visitor: Visitor) -> None:
        for path in ("/admin/posts", "/admin/posts/new", "/admin/posts/1/edit"):
            answer = visitor.get(path)
            assert (answer.status, answer.location) == (302, "/login")
        assert visitor.log_in("jane_admin").location == "/admin/posts/1/edit"

    @pytest.mark.parametrize("path", ["/admin/posts", "/admin/posts/new", "/admin/posts/1/edit"])
    def test_a_plain_user_is_told_why_not_and_how_to_go_on(self, john: Visitor, path: str) -> None:
        page = john.get(path)
        assert page.status == 403
        for words in ("John Doe", "administrators", "jane_admin", "Sign out"):
            assert words in page.text

    def test_a_plain_user_changes_nothing(self, john: Visitor) -> None:
        assert john.post("/admin/posts/1/delete", {}).status == 403
        assert john.get("/posts/an-upgrade-that-nobody-noticed").status == 200

    def test_an_administrator_sees_all_posts(self, jane: Visitor) -> None:
        pages = [posts(jane.get(f"/admin/posts?page={number}")) for number in (1, 2, 3)]
        assert len(set().union(*pages)) == 30

    def test_a_post_is_written_changed_and_deleted(self, jane: Visitor, visitor: Visitor) -> None:
        answer = self.write(
            jane,
            title="Größe & Maß",
            summary="In short",
            content="One.\r\n\r\nTwo.",
            tags="Testing, new, testing,",
        )
        assert (answer.status, answer.location) == (303, "/admin/posts")
        assert "is published" in jane.get("/admin/posts").text
        path = posts(visitor.get("/"))[0]
        page = visitor.get(path)
        assert page.elements("h1")[0].text == "Größe & Maß"
        assert {"One.", "Two."} <= {paragraph.text for paragraph in page.elements("p")}
        assert posts(visitor.get("/?tag=new")) == [path]

        edit = self.edit_page(jane, path)
        form = jane.get(edit).form("post[title]")
        assert [form.values[f"post[{name}]"].strip() for name in self.FIELDS] == [
            "Größe & Maß",
            "In short",
            "One.\n\nTwo.",
            "testing, new",
        ]
        assert self.write(jane, edit, title="Another title", tags="php").status == 303
        page = visitor.get(path)
        assert page.elements("h1")[0].text == "Another title"
        assert not posts(visitor.get("/?tag=new"))
        assert path in posts(visitor.get("/?tag=php"))

        assert jane.comment(path, "It goes with its post").status == 303
        assert self.delete(jane, path).status == 303
        assert "is deleted" in jane.get("/admin/posts").text
        assert visitor.get(path).status == 404
        assert path not in posts(visitor.get("/"))

    def test_two_posts_of_one_title_have_two_addresses(self, jane: Visitor, visitor: Visitor) -> None:
        for _ in range(2):
            self.write(jane, title="Twice", summary="s", content="c", tags="")
        assert posts(visitor.get("/"))[:2] == ["/posts/twice-2", "/posts/twice"]
        for path in ("/posts/twice", "/posts/twice-2"):
            self.delete(jane, path)

    def test_html_in_a_title_is_shown_as_it_was_written(self, jane: Visitor, visitor: Visitor) -> None:
        title = "<script>alert('title')</script>"
        self.write(jane, title=title, summary="<i>s</i>", content="<b>c</b>", tags="<u>t</u>")
        path = posts(visitor.get("/"))[0]
        for page in (
            visitor.get("/"),
            visitor.get(path),
            jane.get("/admin/posts"),
            jane.get(self.edit_page(jane, path)),
        ):
            assert not [element for tag in ("script", "i", "u") for element in page.elements(tag)]
            assert title in page.html.replace("&lt;", "<").replace("&gt;", ">").replace("&#039;", "'")
        self.delete(jane, path)

    def test_a_post_without_a_title_is_refused(self, jane: Visitor) -> None:
        answer = self.write(jane, title=" ", summary="s", content="c", tags="a,b,c,d,e,f")
        assert answer.status == 422
        assert "A post has a title" in answer.text
        assert "at most 5 tags" in answer.text

    def test_forms_without_their_token_are_refused(self, jane: Visitor) -> None:
        values = {"post[title]": "Forged", "post[summary]": "s", "post[content]": "c"}
        assert jane.post("/admin/posts/new", values).status == 422
        assert jane.post("/admin/posts/1/edit", values).status == 422
        assert jane.post("/admin/posts/1/delete", {}).status == 403
        assert jane.post("/admin/posts/1/delete", {"_token": "wrong"}).status == 403
        assert "Forged" not in jane.get("/admin/posts").text
        assert jane.get("/posts/an-upgrade-that-nobody-noticed").status == 200

    def test_a_missing_post_is_not_found(self, jane: Visitor) -> None:
        assert jane.get("/admin/posts/9999/edit").status == 404
