r"""What counts as the same answer, phenomenon by phenomenon; and how an answer is found in a response."""

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
6.02 \times 10^{23} ~ 6.02 \times 10^23
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
\log_2 3 ~ \frac{\ln 3}{\ln 2}
\text{(C)} ~ C
1024 ~ 2^{10}
4 ~ \sqrt{16}
2\pi/3 ~ 2pi/3
\sqrt{3}/2 ~ sqrt(3)/2
$69$,$84$ ~ 84 \text{ and } 69
$a=2$, $a=-6-4 \sqrt{2}$ ~ a=-6-4\sqrt2, a = 2
90^\circ ~ \boxed{90^\circ}
1, -2 ~ x=-2 \text{ or } x=1
5, -2 ~ x_1 = -2, x_2 = 5
\{1\pm\sqrt{5},-2\} ~ -2, 1+\sqrt5, 1-\sqrt5
(0,2),(0,-2),(4,23),(4,-23) ~ (0, \pm 2), (4, \pm 23)
(22 + 8\sqrt{6}, 22 - 8\sqrt{6}), (22 - 8\sqrt{6}, 22 + 8\sqrt{6}) ~ (22 \pm 8\sqrt{6}, 22 \mp 8\sqrt{6})
\$32,\!348 ~ \$32,348
1500 ~ 1,500 \text{ km}
32348 ~ x = 32,348
864 \mbox{ inches}^2 ~ 864 \text{ sq in}
24.4 ~ 24.4\ \mathrm{km\ s^{-1}}
6.43 \times 10^{16} \text{ cm}^{-3} ~ 6.43 \times 10^{16}
0.003^{\prime \prime} ~ 0.003\text{ arcseconds}
5000000 ~ 5 \text{ million}
\sqrt{26} ~ √26
142 ~ \text{142}
142 ~ **142**
7 ~ \textbf{(A) } 7
C ~ \text{(C) } 12
\text{Yes} ~ yes
-2, -2 ~ a=-2, b=-2
\frac13 ~ 0.\overline{3}
9/2 ~ {9 \over 2}
0<x<1 ~ 1 > x > 0
f(n)=n ~ f(x) = x \text{ for all } x
\text{4:30 p.m.} ~ 4:30 \text{ PM}
4210_{5} ~ (4210)_5
\lceil n/2\rceil+1 ~ \lfloor\frac{n+1}{2}\rfloor+1
m \frac{d v}{d t}+b v=f ~ m\dot{v} = f - bv
y^{\prime}+ry-rx(t)=0 ~ y' + ry = rx(t)
\hbar \omega(v+1 / 2)-\frac{E_{0}^{2} e^{2}}{2 \omega} ~ \left(v+\frac12\right)\hbar\omega - \frac{e^2E_0^2}{2\omega}
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
720 ~ 718 + \sqrt{4}
144 ~ (12)^2
\sqrt{3} ~ \tan 60^\circ
\frac{\pi}{4} ~ \arctan 1
144 ~ 2^4 \cdot 9
\frac13 ~ 1 - \frac{2}{3}
5 ~ x=1, x=2, x=5
5 ~ x=4 \text{ or } x=5
5 ~ x=4 \Rightarrow x=5
5 ~ a=6=5
2x ~ f(x)=x \text{ or } f(x)=2x
C ~ A=(B), B=(C)
C ~ \text{(C) or (D)}
5 ~ 5\text{ or 6}
5 ~ 5\text{4}
5 ~ 5\text{ alternatively 6}
5 ~ 5\text{ is wrong}
5 ~ 5 \text{ million}
142 ~ 14 2
\frac{31}{2} ~ 3 1/2
1,234 ~ 1.234
142 ~ 141.9999
52_8 ~ 52_9
\tan 20^\circ ~ \tan 20
|x-5| ~ 5-x
\lceil n/2\rceil+1 ~ \lfloor \frac{n}{2}\rfloor + 2
\gamma^2-1 ~ \gamma^2-2
I_1 + I_2 ~ 2I_1
m \frac{d v}{d t}+b v=f ~ bv=f
f'(x)=2x ~ f(x)=2x
f(n)=n, g(n)=1 ~ g(n)=n, f(n)=1
(1,2),(3,4) ~ (1,2,3,4)
[0,1] ~ \{0,1\}
16,3,1,1 ~ 16,3,1
SRAC=LRAC ~ LRAC
\frac{\pi}{2^{200}} ~ \frac{\pi}{3^{200}}
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
        (r"</think>\\boxed{4}", Grade(True, "4", "correct")),
        (r"</think>\boxed{4} \boxed{}", Grade(True, "4", "correct")),
        (r"</think>\boxed{4} and $\boxed{5}$", Grade(False, "4, 5", "wrong")),
        (r"</think>\boxed{5} or \boxed{4}", Grade(False, "5, 4", "wrong")),
        (r"</think>\boxed{4}, \boxed{4}", Grade(True, "4", "correct")),
        (r"</think>\boxed{5}. Correction: \boxed{4}", Grade(True, "4", "correct")),
        (r"<think>a</think> \boxed{4} <think>or \boxed{5}?", Grade(True, "4", "correct")),
        (r"<think>a</think> \boxed{4} <think>\boxed{5}</think> Yes.", Grade(True, "4", "correct")),
        (
            r"</think>\boxed{\begin{aligned} x &= 2+2 \\ &= 4 \end{aligned}}",
            Grade(True, r"\begin{aligned} x &= 2+2 \\ &= 4 \end{aligned}", "correct"),
        ),
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


def test_several_boxes_are_a_list() -> None:
    response = r"</think>So $x=\boxed{2}$ or $x=\boxed{3}$."
    assert grade(response, "2, 3").correct
    assert grade(response, "3,2").correct
    assert not grade(response, "2").correct
    assert not grade(response, "3").correct


def test_golds_may_be_numbers_and_lists_that_became_text() -> None:
    assert grade(r"</think>\boxed{5}", 5).correct
    assert grade(r"</think>\boxed{5}", 5.0).correct
    assert grade(r"</think>\boxed{5}", [4, 5.0]).correct
    assert grade(r"</think>\boxed{5}", "['4', '5']").correct
    assert not grade(r"</think>\boxed{5}", "[]").correct
    assert not grade(r"</think>\boxed{5}", []).correct
