r"""What counts as the same answer, phenomenon by phenomenon; and how an answer is found in a response."""

import json
from pathlib import Path

import pytest

from deepscaler.rewards import Grade, grade, is_equivalent

SAME = r"""
0.5 ~ \frac{1}{2}
.5 ~ 1/2
\frac{5}{2} ~ 10/4
1.5 ~ 1 1/2
\frac{3}{2} ~ 1\frac{1}{2}
13/8 ~ 1+\frac{5}{8}
\frac{1}{3} ~ \cfrac{1}{3}
\frac{1}{3} ~ 0.333333
25 ~ 025
8.7e8 ~ 8.7 \times 10^{8}
780 ~ 7.8\times10^2
1.6 \times 10^{-19} ~ 1.6e-19
1,000,000 ~ 10^6
24, 28, 3200 ~ 24, 28, 3,\!200
1000.99 ~ 1000,99
28\% ~ 28 percent
28\% ~ 0.28
18.90 ~ \$18.90
10 ~ 10weeks
10 \text{ weeks} ~ 10
64 ~ 64 square feet
5.3 \text{ km} ~ 5.3
-3.2 ~ -3.2\text{ eV}
90^\circ ~ 90
90 ~ 90°
20:34:00 ~ 20:34
2:3 ~ 4:6
k=1 ~ 1
1 ~ k=1
2x ~ f(x)=2x
y = 2x + 3 ~ f(x) = 2x + 3
5 ~ AB = 5
7:32 ~ S_{MBCN}:S=7:32
11 ~ x = 5+5+1 = 11
\frac{\sqrt{3}}{3} ~ \frac{\sqrt{3}}{3} \approx 0.577
3,-3 ~ \pm 3
x=\pm 3 ~ 3, -3
3\pm2\sqrt{2} ~ 3-2\sqrt{2}, 3+2\sqrt{2}
1, 2, 3 ~ 3, 1, 2
2 \text{ and } 3 ~ 3, 2
\{1,2,3\} ~ \{3,2,1\}
(1,2) ~ x=1, y=2
p=5,q=2;p=7,q=2 ~ (5,2),(7,2)
(3,\pi/2) ~ \left( 3, \frac{\pi}{2} \right)
[2,3) ~ x \in [2,3)
3 < x < 5 ~ (3,5)
(-\infty, 2) \cup (3, \infty) ~ (3, \infty) \cup (-\infty, 2)
x>3 ~ 3<x
2x+4y-3=0 ~ y=-\frac{1}{2}x+\frac{3}{4}
2\sqrt{3} ~ \sqrt{12}
\sqrt[3]{2} ~ 2^{1/3}
\frac{\sqrt{2}}{2} ~ \frac{1}{\sqrt{2}}
\frac{t}{m} ~ \frac{1}{m}t
\frac{1}{2} m v^{2} ~ \frac{mv^2}{2}
\omega_{0} ~ \omega_0
I_{\max }=\frac{q_{0}}{\sqrt{2 L C}} ~ \frac{ q_{0} }{ \sqrt{2 C L}  }
i(2-i) ~ 1+2i
-2+2 \sqrt{3} i ~ -2+2i\sqrt{3}
\cos(x) ~ \sin(90^{\circ}-x)
\arcsin\frac{10}{13} ~ \sin^{-1}\left(\frac{10}{13}\right)
{40 \choose 10} ~ \frac{40!}{10! \cdot 30!}
\begin{pmatrix} 1/2 \\ 2 \end{pmatrix} ~ \begin{bmatrix} \frac12 \\ 2 \end{bmatrix}
\text{Evelyn} ~ evelyn
\text{(C)} ~ C
1024 ~ 2^{10}
4 ~ \sqrt{16}
2\pi/3 ~ 2pi/3
\sqrt{3}/2 ~ sqrt(3)/2
"""

DIFFERENT = r"""
3.61e-10 ~ 0
0 ~ 1e-9
32349 ~ 32, 349
0.33 ~ \frac13
3.15 ~ 3.14159
5 ~ 5.001
(0,9) ~ [0,9)
(2,3) ~ (3,2)
(2,3) ~ [2,3]
1, 2, 3 ~ 1, 2
3, -3 ~ 3
\pm 3 ~ 3
\{1,2\} ~ \{1,2,3\}
2x + z = 1 ~ 1
7 = 11a+c ~ 11a+c
x=1 ~ x=2
10 \text{ weeks} ~ 10 \text{ days}
12:00 ~ 1:00
x>3 ~ x<3
a^2b ~ ab^2
f(x) ~ f(y)
F_{n-1} ~ F_{n+1}
A+b ~ a+b
1+2i ~ 1-2i
\text{even} ~ odd
C ~ D
\infty ~ -\infty
\frac{2^{2009}-1}{3\cdot 2^{2008}-1} ~ \frac{2^{2008}-1}{3\cdot 2^{2007}-1}
720 ~ 6!
5050 ~ \sum_{k=1}^{100}k
144 ~ 12^2
\frac{1}{3} ~ \int_0^1x^2dx
\frac{n(n+1)}{2} ~ \sum_{k=1}^n k
7 ~ 3+4
24 ~ 4 \cdot 6
120 ~ \binom{10}{3}
3 ~ \log_2 8
6 ~ \lim_{x \to 2} 3x
5 ~
"""


def pairs(table: str) -> list[tuple[str, str]]:
    split = [line.partition(" ~") for line in table.strip().splitlines()]
    return [(gold, answer.strip()) for gold, _, answer in split]


@pytest.mark.parametrize(("gold", "answer"), pairs(SAME))
def test_same(gold: str, answer: str) -> None:
    assert is_equivalent(answer, gold)


@pytest.mark.parametrize(("gold", "answer"), pairs(DIFFERENT))
def test_different(gold: str, answer: str) -> None:
    assert not is_equivalent(answer, gold)


def test_labelled_pairs(shared_data: Path) -> None:
    lines = (shared_data / "grader_pairs.jsonl").read_text().splitlines()
    undisputed = [pair for pair in map(json.loads, lines) if not pair.get("disputed")]
    verdicts = [is_equivalent(pair["pred"], pair["gold"]) for pair in undisputed]
    right = sum(verdict == pair["equal"] for verdict, pair in zip(verdicts, undisputed, strict=True))
    false_positives = sum(verdict and not pair["equal"] for verdict, pair in zip(verdicts, undisputed, strict=True))
    assert right >= 0.98 * len(undisputed)
    assert false_positives <= 2


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (r"<think>\boxed{5}</think> It is \boxed{4}.", Grade(True, "4", "correct")),
        (r"<think>a</think> \boxed{4} </think> \boxed{5}", Grade(False, "5", "wrong")),
        (r"<think>It must be \boxed{4}", Grade(False, None, "no_think_end")),
        (r"<think>\boxed{4}</think> It is 4.", Grade(False, None, "no_box")),
        (r"</think>\boxed{3} no, \boxed{4}", Grade(True, "4", "correct")),
        (r"</think>\boxed{4} and \boxed{5", Grade(True, "4", "correct")),
        (r"</think>\boxed{\frac{8}{\sqrt{4}}}", Grade(True, r"\frac{8}{\sqrt{4}}", "correct")),
        (r"</think>\boxed{\boxed{4}}", Grade(True, "4", "correct")),
        (r"</think>\boxed{\{4\}}", Grade(True, r"\{4\}", "correct")),
        (r"</think>\fbox{4}", Grade(True, "4", "correct")),
        (r"</think>$\boxed 4$", Grade(True, "4", "correct")),
        (r"</think>\boxed{}", Grade(False, "", "wrong")),
        ("", Grade(False, None, "no_think_end")),
    ],
)
def test_the_answer_is_the_last_balanced_box_after_thinking(response: str, expected: Grade) -> None:
    assert grade(response, "4") == expected


def test_a_model_that_does_not_think_needs_no_end_of_thinking() -> None:
    assert grade(r"\boxed{4}", "4", thinking=False).correct
    assert grade(r"\boxed{4}", "4").reason == "no_think_end"


def test_any_gold_will_do() -> None:
    assert grade(r"</think>\boxed{4}", ["5", "4"]).correct
    assert not grade(r"</think>\boxed{4}", ["5", "6"]).correct
    assert not grade(r"</think>\boxed{4}", []).correct
