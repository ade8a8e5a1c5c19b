"""Normalises text as people write it: surrounding spaces and the two ways to write an accent do not matter.

A name (of a model, a factory, a region) has up to 64 letters, digits, marks, signs and inner spaces of any script. In the id of a
scope, `model=SU7,region=CN-11`, the characters that separate names are escaped, so that ids can be keys, addresses and parts of
other ids; a name without them stays as it is.

Spaces are trimmed (U+0020 and Unicode's other space separators, such as the ideographic one); tabs, line ends and other control
characters are not spaces, and stay refused. Composed characters are normalised to Unicode's NFC, so that an `é` is the same text
whichever keyboard it came from.
"""

from __future__ import annotations

import re
import unicodedata
from itertools import islice
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The space separators of Unicode (category Zs).
SPACES: Final = " \u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"

LONGEST_NAME: Final = 64
#: The value under which all values count that are not listed in the settings.
OTHER: Final = "other"
#: The scope without dimensions, and the name of the set that consists of it.
ALL: Final = "all"

#: What rules about silent event sources name instead of dimensions. No unit has it.
SOURCE: Final = "source"

#: Characters that separate names in ids: of rows, scopes, milestones and day counts.
_TO_ESCAPE: Final = re.compile("[%/=,|]")
_ESCAPES: Final = re.compile("%(25|2F|3D|2C|7C)", re.IGNORECASE)
_OTHER_SPACES: Final = re.compile(f"[{SPACES[1:]}]")
#: The most frequent characters of Chinese texts, and those of headings, colours, places, and names of people.
_COMMON_CHINESE: Final = frozenset(
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定行学法所民得"
    "经十三之进着等部度家电力里如水化高自二理起小物现实加量都两体制机当使点从业本去把性好应开它合还因由其些然前外天政四日那社义事"
    "平形相全表间样与关各重新线内数正心反你明看原又么利比或但质气第向道命此变条只没结解问意建月公无系军很情者最立代想已通并提直题"
    "党程展五果料象员革位入常文总次品式活设及管特件长求老头基资边流路级少图山统接知较将组见计别她手角期根论运农指几九区强放决西被"
    "干做必战先回则任取据处队南给色光门即保治北造百规热领七海口东导器压志世金增争济阶油思术极交受联什认六共权收证改清己美再采转更"
    "单风切打白教速花带安场身车例真务具万每目至达走积示议声报斗完类八离华名确才科张信马节话米整空元况今集温传土许步群广石记需段研"
    "界拉林律叫且究观越织装影算低持音众书布复容儿须际商非验连断深难近矿千周委素技备半办青省列习响约支般史感劳便团往历市克何除消构"
    "府称太准精值号率族维划选标写存候毛亲快效斯院查江型眼王按格养易置派层片始却专状育厂京识适属圆包火住调满县局照参红细引听该铁价"
    "严订购付货客户姓址附注城店销售渠颜银灰黑蓝绿黄紫橙版配续航驱待退额款津河辽宁吉龙苏浙徽福湖川贵州云藏陕甘肃夏疆港澳台湾庆圳杭"
    "武汉郑沙莞波佛肥沈哈尔滨昆厦岛岸锡泉桂洛阳丽李刘陈杨赵吴徐孙胡朱郭罗梁宋谢韩唐冯董萧曹袁邓傅曾彭吕卢蒋蔡贾丁魏薛叶阎余潘杜戴"
    "钟汪田姜范姚谭廖邹熊陆郝孔崔康邱秦顾侯邵孟雷钱汤尹黎贺赖龚伟芳娜秀英敏静磊洋勇艳杰娟涛超兰霞刚梅鹏宇浩轩梓涵欣怡晨雪婷慧佳琪"
    "俊峰博雨琳鑫旭飞宝玉凤荣莉莹倩璐底辆编码盘架域季账初末均齐零停封序未录项测删输补邮箱份座排牌驾驶租赁融贷险赠潢试错突"
)
#: Letters and what fonts define for themselves: in Chinese, all but a few are common characters, in other texts taken for GBK few.
_NOT_ASCII: Final = re.compile(r"[^\W\x00-\x7f]|[\ue000-\uf8ff]")
_COMMON_PART: Final = 0.6
_CHARACTERS_LOOKED_AT: Final = 20_000


def tidy(text: str) -> str:
    """The text trimmed of spaces and in NFC."""
    trimmed = text.strip(SPACES)
    return trimmed if trimmed.isascii() else unicodedata.normalize("NFC", trimmed)


def tidy_name(text: str) -> str:
    """The name trimmed and in NFC, with all inner spaces replaced by plain ones."""
    tidied = tidy(text)
    return tidied if tidied.isascii() else _OTHER_SPACES.sub(" ", tidied)


def is_name(text: str) -> bool:
    """Whether a tidied text is a name: 1 to 64 characters, all visible except for inner spaces."""
    if not 0 < len(text) <= LONGEST_NAME or text[0] == " " or text[-1] == " ":
        return False
    if text.isascii():
        return text.isprintable()
    return all(character == " " or unicodedata.category(character)[0] in "LMNPS" for character in text)


def decoded_gbk(content: bytes) -> str | None:
    """The text, if the bytes are clearly Chinese in GBK or GB 18030; `None` if they are anything else, or may be.

    Most texts in Windows-1252, Big5 or EUC-KR can be decoded as GBK, too, and become rare characters.
    """
    try:
        text = content.decode("gb18030")
    except UnicodeDecodeError:
        return None
    found = [match[0] for match in islice(_NOT_ASCII.finditer(text), _CHARACTERS_LOOKED_AT)]
    common = sum(character in _COMMON_CHINESE for character in found)
    return text if found and common >= _COMMON_PART * len(found) else None


def escaped(name: str) -> str:
    """The name as written in the id of a scope."""
    return _TO_ESCAPE.sub(lambda found: f"%{ord(found[0]):02X}", name)


def unescaped(part: str) -> str:
    """The name written in the id of a scope; a `%` that does not begin an escape stands for itself."""
    return _ESCAPES.sub(lambda found: chr(int(found[1], 16)), part) if "%" in part else part


def scope_names(scope: str) -> list[str]:
    """The names in the id of a scope, in order; none for `all`."""
    return [unescaped(part.partition("=")[2]) for part in scope.split(",") if "=" in part]


def template_of(scope: str) -> tuple[str, ...]:
    """The dimensions in the id of a scope: `("model",)` of `model=SU7`, none of `all`."""
    return tuple(part.partition("=")[0] for part in scope.split(",") if "=" in part)


def template_name(template: Iterable[str]) -> str:
    """The name of the set of scopes with these dimensions: `model,region`, or `all`."""
    return ",".join(template) or ALL


def scope_of_source(source: str) -> str:
    """The pseudo-scope of an event source, for use in place of a scope id: `source=%2Ffactories%2Fbj1%2Fdispatch`."""
    return f"{SOURCE}={escaped(source)}"


def source_of_scope(scope: str) -> str | None:
    """The source of a pseudo-scope made by `scope_of_source`; None for the id of a scope."""
    name, _, value = scope.partition("=")
    return unescaped(value) if name == SOURCE else None


def tidy_key(key: bytes) -> bytes:
    """The key of a record, trimmed and in NFC; a key that is not UTF-8 is unchanged."""
    if key.isascii():
        return key.strip(b" ")
    try:
        return tidy(key.decode("utf-8")).encode()
    except UnicodeDecodeError:
        return key
