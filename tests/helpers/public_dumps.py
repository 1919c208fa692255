"""Small data folders in the form of well-known public dumps: their files, columns and oddities, with made-up content."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ITEMS, USERS, EVENTS = 20, 8, 10
START = 1_500_000_000
WORDS = ["amber", "birch", "cedar", "dune", "ember", "fjord", "grove", "harbor", "island", "juniper"]


def pairs() -> Iterable[tuple[int, int, int, int]]:
    """User, item, rating 1 to 5 and unix seconds of each event."""
    draw = random.Random(1)
    for user in range(USERS):
        for number in range(EVENTS):
            yield user, draw.randrange(ITEMS), draw.randint(1, 5), START + 86_400 * number + 3_600 * user


def text(item: int) -> str:
    return f"{WORDS[item % 10]} {WORDS[(item * 3) % 10]} and a long way of {WORDS[(item * 7) % 10]}"


def _lines(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    content = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def _csv(path: Path, rows: Sequence[dict[str, Any]], **options: Any) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), **options)
        writer.writeheader()
        writer.writerows(rows)


def _moment(seconds: int, form: str) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime(form)


def kaggle_movies(folder: Path) -> None:
    """The Movies Dataset: lists of records as Python writes them, and rows broken over lines."""
    movies = [
        {
            "adult": "False",
            "belongs_to_collection": "{'id': 10194, 'name': 'A Collection', 'poster_path': '/7.jpg'}"
            if item % 5 == 0
            else "",
            "budget": 30_000_000,
            "genres": str(
                [{"id": 16, "name": "Animation"}, {"id": 35, "name": ("Comedy", "Film Noir", "Drama")[item % 3]}]
            ),
            "homepage": "",
            "id": 860 + item,
            "imdb_id": f"tt{114709 + item:07d}",
            "original_language": "en",
            "original_title": f"Film {item}",
            "overview": f'{text(item)}, "quoted", and more.'
            + ("\n\nA second paragraph, with commas." if item % 4 == 0 else ""),
            "popularity": "21.946943",
            "poster_path": "/rhIRbceoE9lR4veEXuwCC2wARtG.jpg",
            "production_companies": str([{"name": "Pixar's Own", "id": 3}]) if item % 3 else "[]",
            "release_date": "1995-10-30",
            "title": f"Film {item}",
            "vote_average": 7.7,
        }
        for item in range(ITEMS)
    ]
    _csv(folder / "movies_metadata.csv", movies)
    ratings = [
        {"userId": user + 1, "movieId": 860 + item, "rating": rating + 0.0, "timestamp": time}
        for user, item, rating, time in pairs()
    ]
    _csv(folder / "ratings_small.csv", ratings)


def amazon_2023(folder: Path) -> None:
    """Amazon Reviews 2023: products by parent_asin, times in milliseconds, lists and records among the fields."""
    reviews = (
        {
            "rating": float(rating), "title": "Lovely", "text": "Such a lovely scent", "images": [], "asin": f"B0V{item:07d}",
            "parent_asin": f"B00{item:07d}", "user_id": f"AGKHLEW2SOWHNMFQIJG{user}", "timestamp": time * 1000 + 923,
            "helpful_vote": 0, "verified_purchase": True,
        }
        for user, item, rating, time in pairs()
    )  # fmt: skip
    _lines(folder / "reviews.jsonl", reviews)
    picture = {"thumb": "https://m/t.jpg", "large": "https://m/l.jpg", "variant": "MAIN", "hi_res": None}
    products = (
        {
            "main_category": "All Beauty", "title": f"Product {item}", "average_rating": 4.8, "rating_number": 10,
            "features": [f"{text(item)} for dry hair", "Made without parabens or anything else"] if item % 3 else [],
            "description": [text(item), "Second sentence."] if item % 4 else [], "price": None, "images": [picture],
            "videos": [], "store": "Howard Products", "categories": ["Beauty", ("Hair", "Skin")[item % 2]],
            "details": {"Package Dimensions": "7.1 x 5.5", "UPC": "617390882781"}, "parent_asin": f"B00{item:07d}",
            "bought_together": None,
        }
        for item in range(ITEMS)
    )  # fmt: skip
    _lines(folder / "products.jsonl", products)


def mind(folder: Path) -> None:
    """MIND: no header lines, quotation marks in titles, impressions in one cell."""
    entities = (
        '[{"Label": "Prince", "Type": "P", "WikidataId": "Q80976", "Confidence": 1.0, "OccurrenceOffsets": [48]}]'
    )
    news = [
        [f"N{55528 + item}", "lifestyle", "royals", ('"The' if item % 6 == 2 else "The") + f" {text(item)}", "Shop the notebooks",
         f"https://assets.msn.com/{item}.html", entities, "[]"]
        for item in range(ITEMS)
    ]  # fmt: skip
    behaviors = [
        [str(n), f"U{user}", _moment(time, "%m/%d/%Y %I:%M:%S %p"), f"N{55528 + item}", f"N{55528 + item}-1 N{55529}-0"]
        for n, (user, item, _, time) in enumerate(pairs())
    ]
    for name, rows in (("news.tsv", news), ("behaviors.tsv", behaviors)):
        (folder / name).write_text("".join("\t".join(row) + "\n" for row in rows))


def hm(folder: Path) -> None:
    """H&M: ids of articles have a leading zero, which the transactions have lost where pandas wrote them."""
    articles = [
        {
            "article_id": f"0{108775015 + item}", "product_code": f"0{108775 + item}", "prod_name": f"Strap top {item}",
            "product_type_no": 253, "product_type_name": "Vest top", "colour_group_name": "Black", "detail_desc": text(item),
        }
        for item in range(ITEMS)
    ]  # fmt: skip
    _csv(folder / "articles.csv", articles)
    customers = [
        {
            "customer_id": f"{user:064x}",
            "FN": "" if user % 2 else 1.0,
            "club_member_status": "ACTIVE",
            "age": 20.0 + user,
        }
        for user in range(USERS)
    ]
    _csv(folder / "customers.csv", customers)
    transactions = [
        {
            "t_dat": _moment(time, "%Y-%m-%d"), "customer_id": f"{user:064x}", "article_id": 108775015 + item,
            "price": 0.0508, "sales_channel_id": 2,
        }
        for user, item, _, time in pairs()
    ]  # fmt: skip
    _csv(folder / "transactions_train.csv", transactions)


def yelp(folder: Path) -> None:
    """Yelp: JSON lines in files called .json, categories as one text, attributes and hours as records."""
    businesses = (
        {
            "business_id": f"Pns2l4eNsfO8kk83dixA{item:02d}", "name": f"Place {item}", "address": "1616 Chapala St", "city": "Tucson",
            "state": "AZ", "postal_code": "93101", "latitude": 34.42, "longitude": -119.71, "stars": 4.5, "review_count": 7,
            "is_open": 1, "attributes": {"ByAppointmentOnly": "True", "BusinessParking": "{'garage': False}"} if item % 2 else None,
            "categories": "Bars" if item == 0 else f"Pizza, {('Food', 'Doctors')[item % 2]}, Health & Medical",
            "hours": {"Monday": "0:0-0:0"},
        }
        for item in range(ITEMS)
    )  # fmt: skip
    _lines(folder / "yelp_academic_dataset_business.json", businesses)
    reviews = (
        {
            "review_id": f"KU_O5udG6zpxOg-VcAEo{n}", "user_id": f"mh_-eMZ6K5RLWhZyISBh{user}", "stars": float(rating),
            "business_id": f"Pns2l4eNsfO8kk83dixA{item:02d}", "useful": 0, "funny": 0, "cool": 0, "text": "Good.",
            "date": _moment(time, "%Y-%m-%d %H:%M:%S"),
        }
        for n, (user, item, rating, time) in enumerate(pairs())
    )  # fmt: skip
    _lines(folder / "yelp_academic_dataset_review.json", reviews)


def goodreads(folder: Path) -> None:
    """GoodReads: gzipped JSON lines, numbers as text, authors without names, dates as Ruby writes them."""
    books = (
        {
            "isbn": "0312853122", "text_reviews_count": "1", "series": [], "country_code": "US", "language_code": "",
            "popular_shelves": [{"count": "3", "name": "to-read"}, {"count": "1", "name": ("p", "fantasy")[item % 2]}],
            "asin": "", "is_ebook": "false", "average_rating": "4.00", "similar_books": [], "description": text(item),
            "authors": [{"author_id": str(604031 + item), "role": ""}], "publisher": "St. Martin's Press", "num_pages": "256",
            "book_id": str(5333265 + item), "ratings_count": "3", "work_id": "5400751", "title": f"Book {item}",
            "title_without_series": f"Book {item}",
        }
        for item in range(ITEMS)
    )  # fmt: skip
    _lines(folder / "goodreads_books.json.gz", books)
    interactions = (
        {
            "user_id": f"8842281e1d1347389f2ab93d60773d4{user}", "book_id": str(5333265 + item), "review_id": f"5c4{n}",
            "is_read": True, "rating": rating, "review_text_incomplete": "",
            "date_added": _moment(time, "%a %b %d %H:%M:%S -0700 %Y"), "date_updated": "", "read_at": "", "started_at": "",
        }
        for n, (user, item, rating, time) in enumerate(pairs())
    )  # fmt: skip
    _lines(folder / "goodreads_interactions.json.gz", interactions)
