# ruff: noqa: E501 - a table with one family a line
"""The families of easy Python problems behind the code benchmark and the code expert's training set.

A family is a template: two names, its arguments, two wordings and one body, each with the parameters left open.
This module holds no randomness and runs nothing; `code_problems` fills the templates in.

Placeholders: `{x}` and `{y}` are the argument names; every other one is a parameter drawn from POOLS.
Argument kinds: L list of integers, S string, W list of words, I integer, D dictionary of word to integer.
"""

from dataclasses import dataclass

WORDS = [
    "apple",
    "river",
    "stone",
    "cloud",
    "tiger",
    "green",
    "music",
    "paper",
    "light",
    "bread",
    "chair",
    "dream",
    "eagle",
    "field",
    "glass",
    "honey",
    "island",
    "jelly",
    "knife",
    "lemon",
    "mouse",
    "night",
    "ocean",
    "piano",
    "queen",
    "robot",
    "salad",
    "table",
    "uncle",
    "violin",
    "water",
    "yellow",
    "zebra",
    "basket",
    "candle",
    "dragon",
    "forest",
    "garden",
    "hammer",
    "insect",
    "jacket",
    "kitten",
    "ladder",
    "market",
    "needle",
    "orange",
    "pencil",
    "rabbit",
    "silver",
    "tunnel",
    "velvet",
    "window",
    "kitchen",
    "morning",
    "blanket",
    "chicken",
    "sun",
    "tea",
    "cup",
    "fox",
    "hat",
    "pen",
    "lamp",
    "fish",
    "elephant",
    "mountain",
    "chocolate",
    "umbrella",
    "keyboard",
]
POOLS: dict[str, tuple[object, ...]] = {
    "k": tuple(range(2, 60)),
    "j": tuple(range(61, 99)),
    "s": tuple(range(2, 13)),
    "p": tuple(range(2, 8)),
    "t": tuple(range(6, 25)),
    "m": tuple(range(3, 9)),
    "c": tuple("abcdefghilmnoprstuw"),
    "d": tuple("xyzkqv*#_+"),
    "e": tuple(",;:|-/+=&."),
    "w": tuple(WORDS),
    "f": ("un", "re", "pre", "sub", "my_", "x-", "no ", "the ", "Mr. ", "id_", ">> ", "new ", "old-", "#", "@", "v"),
}


@dataclass(frozen=True)
class Family:
    """One template of problems; `names` and `docs` are alternatives."""

    names: tuple[str, str]
    args: str
    docs: tuple[str, str]
    body: str

    @property
    def name(self) -> str:
        return self.names[0]


def _families(table: str) -> tuple[Family, ...]:
    """Read one family a line: name/name ; args ; wording / wording ; body."""
    found = []
    for line in table.strip().splitlines():
        names, args, docs, body = (part.strip() for part in line.split(" ;; "))
        first, second = names.split("/")
        one, two = docs.split(" / ")
        found.append(Family((first, second), args, (one, two), body))
    return tuple(found)


SEEN = _families("""
sum_above/total_over ;; L ;; Return the sum of the numbers greater than {k}. / Add up the values larger than {k}. ;; return sum(v for v in {x} if v > {k})
sum_below/total_under ;; L ;; Return the sum of the numbers less than {k}. / Add up the values smaller than {k}. ;; return sum(v for v in {x} if v < {k})
count_above/how_many_over ;; L ;; Count the numbers greater than {k}. / Return how many values are larger than {k}. ;; return sum(1 for v in {x} if v > {k})
count_below/how_many_under ;; L ;; Count the numbers less than {k}. / Return how many values are smaller than {k}. ;; return sum(1 for v in {x} if v < {k})
keep_above/only_over ;; L ;; Return the numbers greater than {k}. / Keep only the values larger than {k}. ;; return [v for v in {x} if v > {k}]
keep_at_most/drop_over ;; L ;; Return the numbers that are at most {k}. / Drop every value larger than {k}. ;; return [v for v in {x} if v <= {k}]
add_to_each/increase_all ;; L ;; Add {k} to every number. / Return the values, each increased by {k}. ;; return [v + {k} for v in {x}]
subtract_from_each/decrease_all ;; L ;; Subtract {k} from every number. / Return the values, each decreased by {k}. ;; return [v - {k} for v in {x}]
multiply_each/scale_all ;; L ;; Multiply every number by {k}. / Return each value times {k}. ;; return [v * {k} for v in {x}]
multiples_of/divisible_values ;; L ;; Return the numbers divisible by {s}. / Keep only the multiples of {s}. ;; return [v for v in {x} if v % {s} == 0]
sum_multiples/total_divisible ;; L ;; Return the sum of the numbers divisible by {s}. / Add up the multiples of {s}. ;; return sum(v for v in {x} if v % {s} == 0)
count_multiples/how_many_divisible ;; L ;; Count the numbers divisible by {s}. / Return how many values are multiples of {s}. ;; return sum(1 for v in {x} if v % {s} == 0)
remainders/modulo_all ;; L ;; Return the remainder of every number divided by {s}. / Take each value modulo {s}. ;; return [v % {s} for v in {x}]
cap_values/limit_top ;; L ;; Replace every number greater than {k} by {k}. / Cap each value at {k}. ;; return [min(v, {k}) for v in {x}]
raise_values/limit_bottom ;; L ;; Replace every number less than {k} by {k}. / Raise each value to at least {k}. ;; return [max(v, {k}) for v in {x}]
replace_value/swap_value ;; L ;; Replace every {k} in the list by {j}. / Return the list with each {k} changed to {j}. ;; return [{j} if v == {k} else v for v in {x}]
remove_value/without_value ;; L ;; Remove every {k} from the list. / Return the values that are not {k}. ;; return [v for v in {x} if v != {k}]
count_value/occurrences ;; L ;; Count how many times {k} appears in the list. / Return the number of occurrences of {k}. ;; return {x}.count({k})
has_value/contains_number ;; L ;; Check if {k} is in the list. / Return True if the list contains {k}. ;; return {k} in {x}
any_above/some_over ;; L ;; Check if any number is greater than {k}. / Return True if some value is larger than {k}. ;; return any(v > {k} for v in {x})
all_below/every_under ;; L ;; Check if all numbers are less than {k}. / Return True if every value is smaller than {k}. ;; return all(v < {k} for v in {x})
first_items/take_first ;; L ;; Return the first {p} items of the list. / Take {p} items from the start of the list. ;; return {x}[:{p}]
last_items/take_last ;; L ;; Return the last {p} items of the list. / Take {p} items from the end of the list. ;; return {x}[-{p}:]
skip_items/drop_first ;; L ;; Return the list without its first {p} items. / Skip {p} items and return the rest. ;; return {x}[{p}:]
every_nth/step_through ;; L ;; Return every {p}th item, starting with the first. / Take one item out of {p}, from the first on. ;; return {x}[::{p}]
append_value/add_at_end ;; L ;; Return the list with {k} added at the end. / Append {k} to a copy of the list. ;; return {x} + [{k}]
prepend_value/add_at_start ;; L ;; Return the list with {k} added at the start. / Put {k} in front of the list. ;; return [{k}] + {x}
repeat_list/list_times ;; L ;; Repeat the list {p} times. / Return {p} copies of the list joined together. ;; return {x} * {p}
largest_items/top_values ;; L ;; Return the {p} largest numbers, largest first. / Find the top {p} values in descending order. ;; return sorted({x}, reverse=True)[:{p}]
smallest_items/bottom_values ;; L ;; Return the {p} smallest numbers, smallest first. / Find the lowest {p} values in ascending order. ;; return sorted({x})[:{p}]
whole_divide/divide_all ;; L ;; Divide every number by {s}, rounding down. / Return each value floor divided by {s}. ;; return [v // {s} for v in {x}]
keep_between/in_range ;; L ;; Return the numbers from {k} to {j}, both included. / Keep the values between {k} and {j} inclusive. ;; return [v for v in {x} if {k} <= v <= {j}]
count_between/how_many_in_range ;; L ;; Count the numbers from {k} to {j}, both included. / Return how many values lie between {k} and {j} inclusive. ;; return sum(1 for v in {x} if {k} <= v <= {j})
distances/differences_from ;; L ;; Return the distance of every number from {k}. / Give the absolute difference of each value and {k}. ;; return [abs(v - {k}) for v in {x}]
replace_letter/change_letter ;; S ;; Replace every '{c}' in the text by '{d}'. / Return the string with each '{c}' changed to '{d}'. ;; return {x}.replace('{c}', '{d}')
remove_letter/strip_letter ;; S ;; Remove every '{c}' from the text. / Return the string without the letter '{c}'. ;; return {x}.replace('{c}', '')
count_letter/letter_total ;; S ;; Count how many times '{c}' appears in the text. / Return the number of '{c}' in the string. ;; return {x}.count('{c}')
starts_with/begins_with ;; S ;; Check if the text starts with '{w}'. / Return True if the string begins with '{w}'. ;; return {x}.startswith('{w}')
ends_with/finishes_with ;; S ;; Check if the text ends with '{w}'. / Return True if the string finishes with '{w}'. ;; return {x}.endswith('{w}')
has_word/mentions ;; S ;; Check if the text contains '{w}'. / Return True if '{w}' is in the string. ;; return '{w}' in {x}
add_prefix/put_before ;; S ;; Add '{f}' before the text. / Return the string with '{f}' in front. ;; return '{f}' + {x}
add_suffix/put_after ;; S ;; Add '{w}' after the text. / Return the string followed by '{w}'. ;; return {x} + '{w}'
repeat_text/text_times ;; S ;; Repeat the text {p} times. / Return {p} copies of the string joined together. ;; return {x} * {p}
first_letters/text_start ;; S ;; Return the first {p} characters of the text. / Take {p} characters from the start of the string. ;; return {x}[:{p}]
last_letters/text_end ;; S ;; Return the last {p} characters of the text. / Take {p} characters from the end of the string. ;; return {x}[-{p}:]
skip_letters/text_rest ;; S ;; Return the text without its first {p} characters. / Skip {p} characters and return the rest of the string. ;; return {x}[{p}:]
pad_left/fill_left ;; S ;; Pad the text on the left with '{d}' to width {t}. / Fill the string with '{d}' at the start to {t} characters. ;; return {x}.rjust({t}, '{d}')
pad_right/fill_right ;; S ;; Pad the text on the right with '{d}' to width {t}. / Fill the string with '{d}' at the end to {t} characters. ;; return {x}.ljust({t}, '{d}')
before_letter/text_before ;; S ;; Return the part of the text before the first '{c}'. / Cut the string at the first '{c}' and return the start. ;; return {x}.split('{c}')[0]
after_letter/text_after ;; S ;; Return the part of the text after the last '{c}'. / Cut the string at the last '{c}' and return the end. ;; return {x}.split('{c}')[-1]
position_of/index_of_letter ;; S ;; Return the position of the first '{c}', or -1. / Find where '{c}' first appears, or -1 if it does not. ;; return {x}.find('{c}')
longer_than/is_long ;; S ;; Check if the text has more than {t} characters. / Return True if the string is longer than {t}. ;; return len({x}) > {t}
join_with/glue_with ;; W ;; Join the words with '{e}'. / Return one string of the words separated by '{e}'. ;; return '{e}'.join({x})
words_starting/begin_with_letter ;; W ;; Return the words that start with '{c}'. / Keep only the words beginning with '{c}'. ;; return [v for v in {x} if v.startswith('{c}')]
words_ending/end_with_letter ;; W ;; Return the words that end with '{c}'. / Keep only the words finishing with '{c}'. ;; return [v for v in {x} if v.endswith('{c}')]
words_containing/with_letter ;; W ;; Return the words that contain '{c}'. / Keep only the words with the letter '{c}'. ;; return [v for v in {x} if '{c}' in v]
words_longer/long_words ;; W ;; Return the words with more than {m} letters. / Keep only the words longer than {m}. ;; return [v for v in {x} if len(v) > {m}]
count_starting/how_many_begin ;; W ;; Count the words that start with '{c}'. / Return how many words begin with '{c}'. ;; return sum(1 for v in {x} if v.startswith('{c}'))
prefix_each/put_before_each ;; W ;; Add '{f}' before every word. / Return the words, each with '{f}' in front. ;; return ['{f}' + v for v in {x}]
suffix_each/put_after_each ;; W ;; Add '{e}' after every word. / Return the words, each followed by '{e}'. ;; return [v + '{e}' for v in {x}]
without_word/remove_word ;; W ;; Remove '{w}' from the words. / Return the words that are not '{w}'. ;; return [v for v in {x} if v != '{w}']
replace_word/swap_word ;; W ;; Replace '{w}' by '{d}' in the words. / Return the words with each '{w}' changed to '{d}'. ;; return ['{d}' if v == '{w}' else v for v in {x}]
is_multiple/divides_evenly ;; I ;; Check if the number is divisible by {k}. / Return True if the number is a multiple of {k}. ;; return {x} % {k} == 0
round_down/lower_multiple ;; I ;; Round the number down to a multiple of {k}. / Return the largest multiple of {k} that is not above the number. ;; return {x} // {k} * {k}
is_between/inside_range ;; I ;; Check if the number is from {k} to {j}, both included. / Return True if the number lies between {k} and {j} inclusive. ;; return {k} <= {x} <= {j}
clamp/keep_inside ;; I ;; Limit the number to the range from {k} to {j}. / Clamp the number between {k} and {j}. ;; return max({k}, min({x}, {j}))
first_multiples/multiples_list ;; I ;; Return the first {s} multiples of the number. / List the number times 1 up to {s}. ;; return [{x} * i for i in range(1, {s} + 1)]
count_by/steps_below ;; I ;; Count from 0 up to but not including the number in steps of {s}. / List the multiples of {s} from 0 that are below the number. ;; return list(range(0, {x}, {s}))
square_plus/square_and_add ;; I ;; Return the square of the number plus {k}. / Square the number, then add {k}. ;; return {x} ** 2 + {k}
times_plus/scale_and_add ;; I ;; Multiply the number by {s} and add {k}. / Return {s} times the number plus {k}. ;; return {x} * {s} + {k}
keys_above/names_over ;; D ;; Return the keys whose value is greater than {k}. / List the keys with a value above {k}. ;; return [key for key, value in {x}.items() if value > {k}]
value_or/lookup ;; D ;; Return the value of '{w}', or {k} if it is missing. / Look up '{w}' and fall back to {k}. ;; return {x}.get('{w}', {k})
has_key/knows ;; D ;; Check if the dictionary has the key '{w}'. / Return True if '{w}' is a key. ;; return '{w}' in {x}
scale_values/multiply_values ;; D ;; Multiply every value of the dictionary by {k}. / Return the dictionary with each value times {k}. ;; return {{key: value * {k} for key, value in {x}.items()}}
add_lists/pairwise_sum ;; LL ;; Add the two lists item by item, plus {k}. / Return the pairwise sums, each increased by {k}. ;; return [a + b + {k} for a, b in zip({x}, {y})]
sum_plus/add_numbers ;; II ;; Return the sum of both numbers plus {k}. / Add the two numbers and {k}. ;; return {x} + {y} + {k}
larger_plus/bigger_and_add ;; II ;; Return the larger of both numbers plus {k}. / Take the bigger number and add {k}. ;; return max({x}, {y}) + {k}
join_two/connect ;; SS ;; Join the two texts with '{f}' between them. / Return both strings separated by '{f}'. ;; return {x} + '{f}' + {y}
""")

UNSEEN = _families("""
sum_first/total_of_start ;; L ;; Return the sum of the first {p} numbers. / Add up the {p} values at the start. ;; return sum({x}[:{p}])
largest_below/best_under ;; L ;; Return the largest number less than {k}, or 0 if there is none. / Find the highest value under {k}, or 0. ;; return max([v for v in {x} if v < {k}], default=0)
negate_above/flip_over ;; L ;; Change the sign of every number greater than {k}. / Negate the values larger than {k}. ;; return [-v if v > {k} else v for v in {x}]
positions_of/where_is ;; L ;; Return the positions at which {k} appears. / List the indexes of {k}. ;; return [i for i, v in enumerate({x}) if v == {k}]
count_other/how_many_differ ;; L ;; Count the numbers that are not {k}. / Return how many values differ from {k}. ;; return sum(1 for v in {x} if v != {k})
double_below/twice_under ;; L ;; Double every number less than {k}. / Multiply by 2 the values smaller than {k}. ;; return [v * 2 if v < {k} else v for v in {x}]
rotate_left/shift_left ;; L ;; Move the first {p} items to the end of the list. / Rotate the list to the left by {p}. ;; return {x}[{p}:] + {x}[:{p}]
drop_last/cut_end ;; L ;; Return the list without its last {p} items. / Remove {p} items from the end of the list. ;; return {x}[:-{p}]
repeat_each/stretch ;; L ;; Repeat every item {p} times in a row. / Return each value {p} times, one after the other. ;; return [v for v in {x} for _ in range({p})]
power_each/raise_all ;; L ;; Raise every number to the power of {p}. / Return each value to the {p}th power. ;; return [v ** {p} for v in {x}]
sum_other/total_without ;; L ;; Return the sum of the numbers that are not {k}. / Add up all values except {k}. ;; return sum(v for v in {x} if v != {k})
shout_long/upper_if_long ;; S ;; Return the text in upper case if it has more than {m} characters. / Upper-case the string when it is longer than {m}. ;; return {x}.upper() if len({x}) > {m} else {x}
drop_prefix/without_start ;; S ;; Remove '{w}' from the start of the text, if it is there. / Return the string without the prefix '{w}'. ;; return {x}.removeprefix('{w}')
surround/wrap ;; S ;; Put '{d}' before and after the text. / Return the string between two '{d}'. ;; return '{d}' + {x} + '{d}'
count_any_case/letter_total_any_case ;; S ;; Count the letter '{c}' in the text, in upper or lower case. / Return the number of '{c}', ignoring case. ;; return {x}.lower().count('{c}')
last_position/last_index ;; S ;; Return the position of the last '{c}', or -1. / Find where '{c}' appears last, or -1. ;; return {x}.rfind('{c}')
chunks/pieces ;; S ;; Split the text into pieces of {p} characters. / Cut the string every {p} characters. ;; return [{x}[i:i + {p}] for i in range(0, len({x}), {p})]
upper_letter/capital_letter ;; S ;; Return the text with every '{c}' in upper case. / Make each '{c}' a capital. ;; return {x}.replace('{c}', '{c}'.upper())
count_containing/how_many_with ;; W ;; Count the words that contain '{c}'. / Return how many words have the letter '{c}'. ;; return sum(1 for v in {x} if '{c}' in v)
first_sorted/sorted_start ;; W ;; Return the first {p} words in alphabetical order. / Sort the words and take {p}. ;; return sorted({x})[:{p}]
words_of_length/exact_words ;; W ;; Return the words with exactly {m} letters. / Keep only the words of length {m}. ;; return [v for v in {x} if len(v) == {m}]
cut_words/shorten_words ;; W ;; Cut every word to its first {p} letters. / Return the first {p} letters of each word. ;; return [v[:{p}] for v in {x}]
count_digit/digit_total ;; I ;; Count how often the digit {m} occurs in the number. / Return the number of digits equal to {m}. ;; return str({x}).count('{m}')
to_power/raise_number ;; I ;; Raise the number to the power of {p}. / Return the number to the {p}th power. ;; return {x} ** {p}
multiples_up_to/divisible_list ;; I ;; List the numbers from 1 to the given number that are divisible by {s}. / Return the multiples of {s} up to the number. ;; return [i for i in range(1, {x} + 1) if i % {s} == 0]
keys_equal/names_with ;; D ;; Return the keys whose value is {k}. / List the keys with the value {k}. ;; return [key for key, value in {x}.items() if value == {k}]
sum_values_above/total_values_over ;; D ;; Return the sum of the values greater than {k}. / Add up the dictionary's values above {k}. ;; return sum(value for value in {x}.values() if value > {k})
product_minus/multiply_and_subtract ;; II ;; Return the product of both numbers minus {k}. / Multiply the two numbers, then subtract {k}. ;; return {x} * {y} - {k}
""")
