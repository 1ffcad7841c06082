"""Common first names (English) and surnames (Chinese), so that a name is seen where the words around say nothing.

Names that are as often plain words (Will, Mark, Grace, May) are left out: with a surname behind them they could be
the beginning of a sentence. A project adds its own.
"""

from __future__ import annotations

_FIRST = """
aaron abigail adam adrian agnes aisha alan albert alejandro alex alexander alexandra alfred ali alice alison amanda
amelia amy ana andrea andrew angela ann anna anne anthony antonio arthur ashley barbara beatrice ben benjamin
bernard beth betty beverly brandon brenda brian bruce camille carl carla carlos carol caroline carolyn catherine
cathy charles charlotte cheryl chloe chris christian christina christine christopher claire clara claudia connor
craig cynthia daniel daniela david deborah debra denise dennis diana diane diego donald donna doris dorothy douglas
dylan edith edward eileen elaine eleanor elena elizabeth ella ellen emily emma eric erik esther ethan eugene eva
evelyn fatima felix fernando fiona florence frances francis frederick gabriel gareth gary george gerald gloria
gordon gregory hannah harold harry heather helen henry howard hugo ian ibrahim ingrid irene isaac isabel isabella
ivan jack jacob jacqueline jake james jamie jane janet janice jason javier jeffrey jennifer jeremy jerry jesse
jessica jill jim joan joanna joe johannes john jonathan jorge jose joseph joshua joyce juan judith judy julia julian
julie justin karen karl kate katherine kathleen kathryn kathy katie keith kelly kenneth kevin kimberly kyle larry
laura lauren lawrence leah leonard leslie liam lillian linda lisa logan louis louise lucas lucia lucy luis luke
madison manuel marcus margaret maria marie marilyn mario marion martha martin mary matthew maurice megan melissa
michael michelle miguel mohamed mohammed monica nancy naomi natalie nathan nicholas nicole noah nora norman olga
oliver olivia omar oscar owen pamela patricia patrick paul paula pedro peter philip phyllis rachel rafael ralph
raymond rebecca ricardo richard robert roberto rodney roger ronald rosemary roy russell ruth ryan samantha samuel
sandra sara sarah scott sean sebastian sergio sharon sheila shirley simon sofia sophia sophie stanley stephanie
stephen steven stuart susan suzanne sylvia tamara teresa terry theodore theresa thomas timothy tina tracy tyler
valerie vanessa veronica victor victoria vincent virginia vivian walter wayne wendy william xavier yolanda yusuf
yvonne zachary zoe
"""
FIRST_NAMES = frozenset(_FIRST.split())
"""In small letters."""

SURNAMES = frozenset(
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎余潘杜戴夏钟"
    "汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
) | {"欧阳", "司马", "上官", "诸葛", "东方", "皇甫", "尉迟", "公孙", "慕容", "司徒", "夏侯", "端木"}
"""The hundred most common of one sign, and the common ones of two."""
