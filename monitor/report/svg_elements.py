"""The parts every drawing is made of, as a tree, so that the library that writes it escapes every text. Pure."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, tostring

NAMESPACE = "http://www.w3.org/2000/svg"


def document(width: float, height: float, **attributes: str) -> Element:
    """An SVG document of its own, in pixels."""
    return Element("svg", {"xmlns": NAMESPACE, "viewBox": f"0 0 {width:.0f} {height:.0f}", **attributes})


def inline(width: float, height: float, **attributes: str) -> Element:
    """A drawing within an HTML page, in pixels."""
    return Element("svg", {"viewBox": f"0 0 {width:.0f} {height:.0f}", **attributes})


def segment(root: Element, x1: float, y1: float, x2: float, y2: float, **attributes: str) -> Element:
    """A straight line."""
    place = {"x1": f"{x1:.1f}", "y1": f"{y1:.1f}", "x2": f"{x2:.1f}", "y2": f"{y2:.1f}"}
    return SubElement(root, "line", {**attributes, **place})


def text(root: Element, content: str, x: float, y: float, anchor: str, **attributes: str) -> None:
    """A text; `anchor` is "start", "middle" or "end"."""
    place = {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": anchor}
    SubElement(root, "text", {**attributes, **place}).text = content


def circle(root: Element, x: float, y: float, radius: float, **attributes: str) -> None:
    """A dot."""
    SubElement(root, "circle", {**attributes, "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": f"{radius:g}"})


def written(root: Element, *, html: bool) -> str:
    """The drawing as text: for an HTML page, or as an XML document."""
    return tostring(root, encoding="unicode", method="html" if html else "xml")
