"""The five services over one world: each answers in its real format, and errs as the real one does."""

import base64
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.fakes.literature_world import World, WorldRepository, WorldWork, share, stemmed

Json = dict[str, Any]


class Api:
    """What the services share: the works that one holds, and search over their titles."""

    source = ""

    def __init__(self, world: World, malformed: float) -> None:
        self.world = world
        self.malformed = malformed
        held = [w for w in world.works.values() if self.source in w.held_by]
        self.works = {w.uid: w for w in held}
        self.index = {w.uid: stemmed(w.title_at(self.source)) for w in held}

    def answer(self, request: Request, body: bytes) -> Response:
        raise NotImplementedError

    def broken_row(self, uid: str) -> bool:
        return share("malformed", self.source, uid) < self.malformed

    def phrase(self, text: str) -> list[WorldWork]:
        wanted = stemmed(text)
        size = len(wanted)
        return [
            self.works[uid]
            for uid, tokens in self.index.items()
            if size and any(tokens[i : i + size] == wanted for i in range(len(tokens) - size + 1))
        ]

    def by_words(self, text: str, least: float) -> list[WorldWork]:
        """Return works that hold a share of the query's words, the best first, famous ones before others."""
        wanted = set(stemmed(text))
        scored = []
        for uid, tokens in self.index.items():
            held = len(wanted & set(tokens)) / max(1, len(wanted))
            if held >= least:
                scored.append((-held, -len(self.world.citations_of(uid)), uid))
        return [self.works[uid] for _, _, uid in sorted(scored)]


class ArxivApi(Api):
    source = "arxiv"

    def answer(self, request: Request, body: bytes) -> Response:
        query = request.query_params
        start, size = int(query.get("start", "0")), int(query.get("max_results", "10"))
        if "id_list" in query:
            ids = query["id_list"].split(",")
            found = [w for w in self.works.values() if w.arxiv in ids]
        else:
            matched = re.fullmatch(r'(all|ti):"([^"]*)"', query.get("search_query", ""))
            if not matched:
                return self._feed([], 0, 1, [self._error("malformed query")])
            found = self.phrase(matched.group(2))
        page = found[start : start + size]
        return self._feed(page, start, len(found), [self._entry(w) for w in page])

    def _feed(self, page: Sequence[WorldWork], start: int, total: int, entries: Iterable[str]) -> Response:
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<feed xmlns="http://www.w3.org/2005/Atom" '
            'xmlns:opensearch="http://a9.com/-/spec/opensearch/1.1/" xmlns:arxiv="http://arxiv.org/schemas/atom">\n'
            "<title>arXiv Query</title><id>http://arxiv.org/api/x</id>\n"
            f"<opensearch:totalResults>{total}</opensearch:totalResults>"
            f"<opensearch:startIndex>{start}</opensearch:startIndex>"
            f"<opensearch:itemsPerPage>{len(page)}</opensearch:itemsPerPage>\n{''.join(entries)}</feed>"
        )
        return Response(text, media_type="application/atom+xml")

    def _error(self, why: str) -> str:
        return f"<entry><id>http://arxiv.org/api/errors</id><title>Error</title><summary>{why}</summary></entry>"

    def _entry(self, work: WorldWork) -> str:
        if self.broken_row(work.uid):
            return "<entry><id>http://arxiv.org/abs/</id><title></title></entry>"
        year = 2000 + int(work.arxiv[:2]) if work.arxiv else work.year
        authors = "".join(f"<author><name>{escape(a)}</name></author>" for a in work.authors)
        comment = f"<arxiv:comment>{escape(work.comment)}</arxiv:comment>" if work.comment else ""
        return (
            f"<entry><id>http://arxiv.org/abs/{work.arxiv}v2</id><published>{year}-{work.arxiv[2:4]}-10T00:00:00Z</published>"
            f"<updated>{year}-12-01T00:00:00Z</updated><title>{escape(work.title_at('arxiv'))}</title>"
            f"<summary>{escape(work.title)}</summary>{authors}{comment}"
            f'<link href="http://arxiv.org/abs/{work.arxiv}v2" rel="alternate" type="text/html"/>'
            '<arxiv:primary_category term="cs.LG"/></entry>\n'
        )


class ScholarApi(Api):
    source = "semantic_scholar"

    def __init__(self, world: World, malformed: float) -> None:
        super().__init__(world, malformed)
        self.ids = {w.s2: w for w in self.works.values()}
        self.ids |= {f"ARXIV:{w.arxiv}": w for w in self.works.values() if w.arxiv}
        self.ids |= {f"DOI:{w.doi}": w for w in self.works.values() if w.doi}

    def answer(self, request: Request, body: bytes) -> Response:
        path = request.url.path.removeprefix("/semantic_scholar/graph/v1/paper/")
        if path == "batch" and request.method == "POST":
            found = [self.ids.get(i) for i in json.loads(body)["ids"]]
            return JSONResponse([self._row(w) if w else None for w in found])
        if path == "search":
            return self._search(request)
        if path == "search/match":
            found = [w for w in self.works.values() if stemmed(w.title) == stemmed(request.query_params["query"])]
            if not found:
                return JSONResponse({"error": "Title match not found"}, 404)
            return JSONResponse({"data": [{**self._row(found[0]), "matchScore": 180.5}]})
        paper, _, kind = path.rpartition("/")
        work = self.ids.get(paper)
        if work is None or kind not in {"references", "citations"}:
            return JSONResponse({"error": f"Paper with id {paper} not found"}, 404)
        return self._edges(request, work, kind)

    def _search(self, request: Request) -> Response:
        offset, limit = int(request.query_params.get("offset", "0")), int(request.query_params.get("limit", "100"))
        if offset + limit > 1000 or limit > 100:
            return JSONResponse({"error": "Requested data for this limit and/or offset is not available"}, 400)
        found = self.by_words(request.query_params["query"], 1.0)
        body: Json = {"total": len(found), "offset": offset}
        if offset + limit < min(1000, len(found)):
            body["next"] = offset + limit
        if found[offset:]:
            body["data"] = [self._row(w) for w in found[offset : offset + limit]]
        return JSONResponse(body)

    def _edges(self, request: Request, work: WorldWork, kind: str) -> Response:
        offset, limit = int(request.query_params.get("offset", "0")), int(request.query_params.get("limit", "100"))
        if kind == "references" and work.references_withheld:
            return JSONResponse({"offset": 0, "data": None})
        uids = work.references if kind == "references" else self.world.citations_of(work.uid)
        held = [self.works[u] for u in uids if u in self.works]
        end = "citedPaper" if kind == "references" else "citingPaper"
        body: Json = {"offset": offset, "data": [{end: self._row(w)} for w in held[offset : offset + limit]]}
        if offset + limit < len(held):
            body["next"] = offset + limit
        return JSONResponse(body)

    def _row(self, work: WorldWork) -> Json:
        if self.broken_row(work.uid):
            return {"paperId": None, "title": None}
        external = {"ArXiv": work.arxiv, "DOI": work.doi, "CorpusId": 1}
        return {
            "paperId": work.s2,
            "externalIds": {k: v for k, v in external.items() if v},
            "title": work.title_at(self.source),
            "abstract": None,
            "year": work.year,
            "venue": work.venue or "",
            "authors": [{"authorId": str(i), "name": a} for i, a in enumerate(work.authors)],
            "citationCount": work.outside_citations + len(self.world.citations_of(work.uid)),
            "publicationTypes": ["Review"] if work.is_survey else ["JournalArticle"],
            "url": f"https://www.semanticscholar.org/paper/{work.s2}",
        }


class OpenAlexApi(Api):
    source = "openalex"

    def __init__(self, world: World, malformed: float) -> None:
        super().__init__(world, malformed)
        self.by_id = {w.openalex: w for w in self.works.values()}
        self.by_doi = {self._doi(w): w for w in self.works.values() if self._doi(w)}

    def answer(self, request: Request, body: bytes) -> Response:
        query = request.query_params
        size = int(query.get("per-page", "25"))
        if size > 100:
            return JSONResponse({"error": "Invalid query parameters error.", "message": "per-page is 1 to 100"}, 400)
        if "cursor" in query and "api_key" not in query:
            return JSONResponse({"error": "Unauthorized", "message": "cursor paging needs an API key"}, 401)
        found = self._filtered(query["filter"]) if "filter" in query else self.by_words(query.get("search", ""), 1.0)
        if "cursor" in query:
            start = 0 if query["cursor"] == "*" else int(base64.urlsafe_b64decode(query["cursor"]).decode())
        else:
            start = (int(query.get("page", "1")) - 1) * size
        rows = [self._row(w) for w in found[start : start + size]]
        meta: Json = {"count": len(found), "db_response_time_ms": 3, "per_page": size}
        if "cursor" in query:
            following = base64.urlsafe_b64encode(str(start + size).encode()).decode()
            meta["next_cursor"] = following if rows else None
        return JSONResponse({"meta": meta, "results": rows})

    def _filtered(self, text: str) -> list[WorldWork]:
        name, _, value = text.partition(":")
        if name == "openalex":
            return [self.by_id[i] for i in value.split("|") if i in self.by_id]
        if name == "doi":
            return [self.by_doi[d] for d in value.split("|") if d in self.by_doi]
        if name == "cites":
            cited = self.by_id.get(value)
            uids = self.world.citations_of(cited.uid) if cited else []
            return [self.works[u] for u in uids if u in self.works]
        return self.by_words(value, 1.0)

    @staticmethod
    def _doi(work: WorldWork) -> str | None:
        return f"10.48550/arxiv.{work.arxiv}" if work.arxiv else work.doi

    def _row(self, work: WorldWork) -> Json:
        if self.broken_row(work.uid):
            return {"id": None, "display_name": None}
        doi = self._doi(work)
        landing = f"https://arxiv.org/abs/{work.arxiv}" if work.arxiv else f"https://doi.org/{doi}" if doi else None
        cited = [self.works[u].openalex for u in work.references if u in self.works]
        return {
            "id": f"https://openalex.org/{work.openalex}",
            "doi": f"https://doi.org/{doi}" if doi else None,
            "display_name": work.title_at(self.source),
            "publication_year": work.year,
            "authorships": [
                {"author": {"id": f"https://openalex.org/A{i}", "display_name": a}} for i, a in enumerate(work.authors)
            ],
            "primary_location": {"source": {"display_name": work.venue}} if work.venue else {"source": None},
            "locations": [{"landing_page_url": landing}] if landing else [],
            "type": "review" if work.is_survey else "article",
            "cited_by_count": work.outside_citations + len(self.world.citations_of(work.uid)),
            "referenced_works": [f"https://openalex.org/{i}" for i in cited],
            "abstract_inverted_index": None,
        }


class HubApi(Api):
    source = "hub"

    def answer(self, request: Request, body: bytes) -> Response:
        path = request.url.path.removeprefix("/hub/api/")
        if path == "papers/search":
            found = self.by_words(request.query_params.get("q", ""), 0.6)
            return JSONResponse(
                [{"paper": self._paper(w)} for w in found[: int(request.query_params.get("limit", "30"))]]
            )
        if path.startswith("papers/"):
            found = [w for w in self.works.values() if w.arxiv == path.removeprefix("papers/")]
            return JSONResponse(self._paper(found[0])) if found else JSONResponse({"error": "Paper not found"}, 404)
        if path == "models":
            wanted = request.query_params.get("filter", "").removeprefix("arxiv:")
            named = [w for w in self.works.values() if w.arxiv == wanted and share("model", w.uid) < 0.5]
            return JSONResponse([{"id": f"lab/{w.uid}", "downloads": 10, "tags": [f"arxiv:{w.arxiv}"]} for w in named])
        return JSONResponse({"error": "Not found"}, 404)

    def _paper(self, work: WorldWork) -> Json:
        paper: Json = {
            "id": work.arxiv,
            "title": work.title_at(self.source),
            "summary": "",
            "authors": [{"name": a, "hidden": False} for a in work.authors],
            "publishedAt": f"{2000 + int(work.arxiv[:2])}-01-01T00:00:00.000Z",
            "upvotes": 3,
        }
        if work.repository and share("hub code", work.uid) < 0.6:
            paper["githubRepo"] = f"https://github.com/{work.repository}"
        return paper


class GitHubApi(Api):
    source = "github"

    def __init__(self, world: World, malformed: float) -> None:
        super().__init__(world, malformed)
        self.repositories = world.repositories
        self.texts = {
            name: set(stemmed(f"{name} {r.description} {r.readme}")) | set(re.findall(r"\d{4}\.\d{4,5}", r.readme))
            for name, r in self.repositories.items()
        }

    def answer(self, request: Request, body: bytes) -> Response:
        path = request.url.path.removeprefix("/github/")
        if path == "search/repositories":
            return self._search(request)
        if path.startswith("repositories/"):
            wanted = path.removeprefix("repositories/")
            found = next((r for n, r in self.repositories.items() if self._number(n) == wanted), None)
            return JSONResponse(self._row(found, found.moved_to or found.full_name)) if found else self._missing()
        name = path.removeprefix("repos/").removesuffix("/readme")
        repository = self.repositories.get(name)
        if repository is None or repository.gone:
            return self._missing()
        if path.endswith("/readme"):
            content = base64.encodebytes(repository.readme.encode()).decode()
            return JSONResponse({"name": "README.md", "encoding": "base64", "content": content})
        if repository.moved_to:
            where = f"{request.url.scheme}://{request.url.netloc}/github/repositories/{self._number(name)}"
            body_ = {"message": "Moved Permanently", "url": where}
            return JSONResponse(body_, 301, headers={"Location": where})
        return JSONResponse(self._row(repository, repository.full_name))

    def _search(self, request: Request) -> Response:
        query = re.sub(r"\b(in|sort|stars):\S+", "", request.query_params["q"])
        wanted = {w for w in query.replace('"', " ").split() if re.fullmatch(r"\d{4}\.\d{4,5}", w)}
        wanted |= set(stemmed(" ".join(w for w in query.replace('"', " ").split() if w not in wanted)))
        found = [r for n, r in self.repositories.items() if wanted <= self.texts[n] and not r.gone]
        found.sort(key=lambda r: (-r.stars, r.full_name))
        page, size = int(request.query_params.get("page", "1")), int(request.query_params.get("per_page", "30"))
        rows = [self._row(r, r.full_name) for r in found[(page - 1) * size : page * size]]
        headers = {"X-RateLimit-Remaining": "29"}
        if page * size < len(found):
            headers["Link"] = f'<{request.url.include_query_params(page=page + 1)}>; rel="next"'
        return JSONResponse({"total_count": len(found), "incomplete_results": False, "items": rows}, headers=headers)

    @staticmethod
    def _number(name: str) -> str:
        return str(int(share("repository", name) * 10**9))

    def _missing(self) -> Response:
        return JSONResponse({"message": "Not Found", "documentation_url": "https://docs.github.com/rest"}, 404)

    def _row(self, repository: WorldRepository, full_name: str) -> Json:
        return {
            "full_name": full_name,
            "html_url": f"https://github.com/{full_name}",
            "description": repository.description,
            "stargazers_count": repository.stars,
            "license": {"spdx_id": repository.licence} if repository.licence else None,
            "pushed_at": repository.pushed_at,
            "archived": repository.archived,
            "language": "Python",
        }
