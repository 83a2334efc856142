# books.py
BOOKS = {
    "The Walrus and the Carpenter": [
        "The sun was shining on the sea,",
        "Shining with all his might:",
        "He did his very best to make",
        "The billows smooth and bright,",
        "And this was odd, because it was",
        "The middle of the night.",
    ],
    "My Shadow": [
        "I have a little shadow that goes in and out with me,",
        "And what can be the use of him is more than I can see.",
        "He is very, very like me from the heels up to the head;",
        "And I see him jump before me, when I jump into my bed.",
    ],
}
