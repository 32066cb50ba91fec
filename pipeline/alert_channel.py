"""Send one message to one channel: the process that pipeline.alerts starts for it.

The message is JSON on the standard input, because others can see the arguments of a process. Exit
status: 0 sent; else the last line says why not.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any

# Where text is shown as it is: elsewhere it may call people, or hide where a link leads.
PLAIN = ("mailto", "mailtos", "json", "jsons", "xml", "xmls", "form", "forms")
SECONDS = 4


def by_apprise(url: str, message: dict[str, Any]) -> str:
    """Send with apprise; returns why it was not sent."""
    import apprise

    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("apprise").addHandler(handler)
    logging.getLogger("apprise").setLevel(logging.WARNING)
    limits = {"cto": SECONDS, "rto": SECONDS}
    separator = "&" if "?" in url else "?"
    url += separator + "&".join(f"{name}={value}" for name, value in limits.items())
    scheme = url.partition("://")[0].lower()
    if scheme in ("mailto", "mailtos") and "format=" not in url:
        url += "&format=text"
    sender = apprise.Apprise()
    if not sender.add(url):
        return f"apprise does not understand this {scheme}:// address"
    title, body = message["title"], message["body"]
    if scheme not in PLAIN:
        title, body = without_markup(title), without_markup(body)
    sent = sender.notify(body, title, body_format=apprise.NotifyFormat.TEXT)
    return "" if sent else (said or ["apprise did not send it"])[-1]


def without_markup(text: str) -> str:
    """Text in which a chat finds no mention and no link."""
    text = re.sub(r"([@<\[\]])", "\\1\u200b", text)
    return text.replace("://", ":\u200b//")


def by_sns(topic: str, message: dict[str, Any]) -> str:
    """Publish into an SNS topic; returns why it was not sent."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError:
        return "SNS needs boto3: pip install --requirement requirements/redshift.txt"
    config = Config(connect_timeout=SECONDS, read_timeout=SECONDS, retries={"max_attempts": 0})
    region = topic.split(":")[3] if topic.count(":") >= 5 else None
    # Subjects are ASCII, and must begin with a letter or number.
    subject = re.sub(r"[^ -~]", "?", message["title"])
    try:
        client = boto3.client("sns", region_name=region, config=config)
        client.publish(TopicArn=topic, Subject=subject, Message=message["body"])
    except Exception as error:  # botocore has a class for each of its services' errors
        return " ".join(str(error).split())
    return ""


def main() -> int:
    """Send what the standard input says."""
    message = json.load(sys.stdin)
    send = {"url": by_apprise, "sns": by_sns}[message["kind"]]
    why = send(message["given"], message)
    print(why)
    return 1 if why else 0


if __name__ == "__main__":
    sys.exit(main())
