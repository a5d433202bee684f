"""Which scripts a character is used with, and which characters look like ASCII.

Do not edit: tests/oauth/clients/rules/generate_lookalikes.py wrote it from Unicode 15.1.0,
https://www.unicode.org/Public/15.1.0/ucd/ (Scripts, ScriptExtensions) and
https://www.unicode.org/Public/security/15.1.0/ (confusables, of Technical Standard 39).
"""

UNICODE_VERSION = "15.1.0"

# First and last code point in base 36, then the ISO 15924 codes of the scripts. Characters that
# every script uses (Common and Inherited without extensions) are left out.
SCRIPTS = """
1t,2i,Latn; 2p,3e,Latn; 4q,4q,Latn; 56,56,Latn; 5c,5y,Latn; 60,6u,Latn; 6w,jc,Latn; kg,kk,Latn;
kq,kr,Bopo; n6,n6,Grek; n9,n9,Grek; o3,of,Latn; og,oj,Grek; ol,ot,Grek; ov,p0,Grek; p2,p2,Grek;
p4,rl,Grek; rm,rz,Copt; s0,sf,Grek; sg,w2,Cyrl; w3,w3,Cyrl Perm; w4,w4,Cyrl Glag; w5,w6,Cyrl Latn;
w7,w7,Cyrl Glag; w8,10v,Cyrl; 10x,13j,Armn; 13l,16c,Hebr; 16o,16s,Arab; 16u,16z,Arab; 170,170,Arab
Nkoo Rohg Syrc Thaa Yezi; 171,17e,Arab; 17f,17f,Arab Nkoo Rohg Syrc Thaa Yezi; 17g,17g,Arab Syrc
Thaa; 17h,17i,Arab; 17j,17j,Adlm Arab Nkoo Rohg Syrc Thaa Yezi; 17k,18f,Arab; 18g,18g,Adlm Arab
Mand Mani Ougr Phlp Rohg Sogd Syrc; 18h,18q,Arab; 18r,191,Arab Syrc; 192,19b,Arab; 19c,19l,Arab
Thaa Yezi; 19m,19r,Arab; 19s,19s,Arab Syrc; 19t,1cj,Arab; 1ck,1ck,Arab Rohg; 1cl,1cs,Arab;
1cu,1dr,Arab; 1ds,1fz,Syrc; 1g0,1hb,Arab; 1hc,1ip,Thaa; 1j4,1kv,Nkoo; 1kw,1mm,Samr; 1mo,1ni,Mand;
1nk,1nu,Syrc; 1o0,1r5,Arab; 1r7,1rz,Arab; 1s0,1u8,Deva; 1u9,1u9,Beng Deva Gran Gujr Guru Knda Latn
Mlym Orya Shrd Taml Telu Tirh; 1ua,1ua,Beng Deva Gran Gujr Guru Knda Latn Mlym Orya Taml Telu
Tirh; 1ud,1ur,Deva; 1us,1us,Beng Deva Dogr Gong Gonm Gran Gujr Guru Knda Mahj Mlym Nand Orya Sind
Sinh Sylo Takr Taml Telu Tirh; 1ut,1ut,Beng Deva Dogr Gong Gonm Gran Gujr Guru Knda Limb Mahj Mlym
Nand Orya Sind Sinh Sylo Takr Taml Telu Tirh; 1uu,1v3,Deva Dogr Kthi Mahj; 1v4,1vj,Deva;
1vk,1yb,Beng; 1ye,1yn,Beng Cakm Sylo; 1yo,1z2,Beng; 1z5,21q,Guru; 21y,227,Guru Mult; 228,22e,Guru;
22p,25f,Gujr; 25i,25r,Gujr Khoj; 25s,267,Gujr; 269,29j,Orya; 29u,2c7,Taml; 2cm,2cz,Gran Taml;
2d0,2d6,Taml; 2dc,2gv,Telu; 2gw,2jn,Knda; 2jq,2jz,Knda Nand; 2k1,2k3,Knda; 2kg,2nz,Mlym;
2o1,2r8,Sinh; 2rl,2t6,Thai; 2tc,2u3,Thai; 2v5,2xr,Laoo; 2yo,34k,Tibt; 34p,34q,Tibt; 35s,37j,Mymr;
37k,37t,Cakm Mymr Tale; 37u,3a7,Mymr; 3a8,3cq,Geor; 3cr,3cr,Geor Latn; 3cs,3cv,Geor; 3cw,3jz,Hang;
3k0,3vd,Ethi; 3vk,3y5,Cher; 3y8,4fz,Cans; 4g0,4gs,Ogam; 4gw,4iy,Runr; 4j2,4jc,Runr; 4jk,4kf,Tglg;
4kg,4l0,Hano; 4l1,4l2,Buhd Hano Tagb Tglg; 4lc,4lv,Buhd; 4m8,4mr,Tagb; 4n4,4qh,Khmr; 4qo,4qp,Mong;
4qq,4qr,Mong Phag; 4qs,4qs,Mong; 4qt,4qt,Mong Phag; 4qu,4ve,Mong; 4vk,4xh,Cans; 4xs,4zz,Limb;
500,510,Tale; 51c,53z,Talu; 540,54v,Khmr; 54w,55r,Bugi; 55s,59p,Lana; 5c0,5fi,Bali; 5fk,5hb,Sund;
5hc,5j3,Batk; 5j4,5lb,Lepc; 5lc,5mn,Olck; 5mo,5mw,Cyrl; 5n4,5of,Geor; 5og,5on,Sund; 5ow,5ow,Beng
Deva Gran Knda; 5ox,5ox,Deva; 5oy,5oy,Beng Deva Gran Knda; 5oz,5oz,Deva Gran; 5p0,5p0,Deva;
5p1,5p2,Beng Deva; 5p3,5p3,Deva Shrd; 5p4,5p4,Beng Deva; 5p5,5p5,Deva Shrd; 5p6,5p6,Deva Knda Mlym
Orya Taml Telu; 5p7,5p7,Deva; 5p8,5p9,Deva Shrd; 5pa,5pb,Deva; 5pc,5pc,Deva Shrd; 5pd,5pd,Beng
Deva; 5pe,5pk,Deva; 5pl,5pl,Deva Nand; 5pm,5pm,Beng Deva; 5pn,5po,Deva; 5pp,5pp,Beng Deva;
5pq,5pt,Deva; 5pu,5pu,Beng Deva Gran Knda Mlym Nand Orya Sinh Telu Tirh; 5pv,5pv,Deva Gran;
5pw,5pw,Deva Gran Knda; 5px,5py,Beng Deva; 5pz,5pz,Beng; 5q0,5q1,Deva Gran; 5q2,5q2,Nand;
5q8,5r9,Latn; 5ra,5re,Grek; 5rf,5rf,Cyrl; 5rg,5ss,Latn; 5st,5sx,Grek; 5sy,5t1,Latn; 5t2,5t6,Grek;
5t7,5tj,Latn; 5tk,5tk,Cyrl; 5tl,5vi,Latn; 5vj,5vl,Grek; 5x4,5x4,Cyrl Syrc; 5x6,5x6,Syrc;
5xc,64f,Latn; 64g,6bi,Grek; 6cv,6cv,Latn Mong; 6ep,6ep,Latn; 6f3,6f3,Latn; 6fk,6fw,Latn;
6i8,6i8,Deva Gran Latn; 6jq,6jq,Grek; 6ju,6jv,Latn; 6k2,6k2,Latn; 6ku,6ku,Latn; 6lc,6mg,Latn;
7wg,83j,Brai; 8ow,8rj,Glag; 8rk,8sf,Latn; 8sg,8vz,Copt; 8w0,8x9,Geor; 8xc,8zj,Tfng; 8zk,926,Ethi;
928,933,Cyrl; 94z,94z,Cyrl Glag; 96o,9g5,Hani; 9hd,9he,Bopo Hang Hani Hira Kana Yiii; 9hf,9hf,Bopo
Hang Hani Hira Kana; 9hh,9hj,Hani; 9hk,9ht,Bopo Hang Hani Hira Kana Yiii; 9hv,9hv,Bopo Hang Hani
Hira Kana; 9hw,9i3,Bopo Hang Hani Hira Kana Yiii; 9i4,9i7,Bopo Hang Hani Hira Kana; 9i9,9ih,Hani;
9ii,9il,Bopo Hani; 9im,9in,Hang; 9io,9io,Bopo Hang Hani Hira Kana; 9ip,9it,Hira Kana; 9iv,9iv,Bopo
Hang Hani Hira Kana; 9iw,9iz,Hani; 9j0,9j1,Hani Hira Kana; 9j2,9j3,Hani; 9j5,9li,Hira;
9ll,9lo,Hira Kana; 9lp,9lr,Hira; 9ls,9ls,Hira Kana; 9lt,9oa,Kana; 9ob,9ob,Bopo Hang Hani Hira Kana
Yiii; 9oc,9oc,Hira Kana; 9od,9of,Kana; 9ol,9pr,Bopo; 9pt,9se,Hang; 9sg,9sv,Hani; 9sw,9tr,Bopo;
9ts,9ur,Hani; 9v4,9vj,Kana; 9vk,9we,Hang; 9wg,9xj,Hani; 9y8,9z2,Hang; 9z4,a0g,Hani; a0w,a17,Hani;
a1c,a2m,Kana; a2n,a2n,Hani; a2o,a53,Kana; a54,a5s,Hani; a63,a67,Hani; a8w,a9q,Hani; a9s,fcv,Hani;
feo,vlr,Hani; vls,wjq,Yiii; wk0,wlb,Lisu; wlc,wtn,Vaii; wu8,wvi,Cyrl; wvj,wvj,Cyrl Glag;
wvk,wwv,Cyrl; www,wzb,Bamu; wzk,wzr,Hani Latn; x0i,x3b,Latn; x3f,x6n,Latn; x6o,x7w,Sylo;
x80,x82,Deva Dogr Gujr Guru Khoj Knda Kthi Mahj Mlym Modi Nand Shrd Sind Takr Tirh; x83,x85,Deva
Dogr Gujr Guru Khoj Knda Kthi Mahj Modi Nand Shrd Sind Takr Tirh; x86,x87,Deva Dogr Gujr Guru Khoj
Kthi Mahj Modi Sind Takr Tirh; x88,x88,Deva Dogr Gujr Guru Khoj Kthi Mahj Modi Shrd Sind Takr
Tirh; x89,x89,Deva Dogr Gujr Guru Khoj Kthi Mahj Modi Sind Takr Tirh; x8g,x9z,Phag; xa8,xcp,Saur;
xcw,xdc,Deva; xdd,xdd,Beng Deva; xde,xde,Deva; xdf,xdf,Deva Taml; xdg,xdr,Deva; xds,xf1,Kali;
xf2,xf2,Kali Latn Mymr; xf3,xf3,Kali; xf4,xgf,Rjng; xgg,xh8,Hang; xhc,xjh,Java; xjj,xjj,Bugi Java;
xjk,xjz,Java; xk0,xku,Mymr; xkw,xnj,Cham; xnk,xof,Mymr; xog,xr3,Tavt; xr4,xrq,Mtei; xs1,xta,Ethi;
xtc,xui,Latn; xuk,xus,Latn; xut,xut,Grek; xuu,xux,Latn; xv4,xxb,Cher; xxc,xyx,Mtei; xz4,16nv,Hang;
1d6o,1djt,Hani; 1dkw,1dl2,Latn; 1dlf,1dlj,Armn; 1dlp,1dn3,Hebr; 1dn4,1e0t,Arab; 1e0u,1e0v,Arab
Nkoo; 1e0w,1e5t,Arab; 1e5u,1e5u,Arab Thaa; 1e5v,1e64,Arab; 1e65,1e65,Arab Thaa; 1e66,1e67,Arab;
1e7i,1e7j,Cyrl; 1e85,1e86,Bopo Hang Hani Hira Kana; 1e9c,1ed8,Arab; 1ee9,1eey,Latn;
1ef5,1efu,Latn; 1eg1,1eg5,Bopo Hang Hani Hira Kana Yiii; 1eg6,1egf,Kana; 1egg,1egg,Hira Kana;
1egh,1ehp,Kana; 1ehq,1ehr,Hira Kana; 1ehs,1ejg,Hang; 1ekg,1ere,Linb; 1erk,1erl,Cpmn Cprt Linb;
1erm,1erm,Cprt Linb; 1err,1esz,Cprt Lina Linb; 1et3,1etb,Cprt Linb; 1etc,1evi,Grek;
1ew0,1ew0,Grek; 1f28,1f30,Lyci; 1f34,1f4g,Cari; 1f4w,1f5n,Arab Copt; 1f5s,1f73,Ital;
1f74,1f7u,Goth; 1f80,1f96,Perm; 1f9c,1fa7,Ugar; 1fa8,1fbp,Xpeo; 1fcw,1ff3,Dsrt; 1ff4,1fgf,Shaw;
1fgg,1fhl,Osma; 1fhs,1fjv,Osge; 1fk0,1fl3,Elba; 1flc,1fn3,Aghb; 1fn4,1fp8,Vith; 1fr4,1g13,Lina;
1g1s,1g3e,Latn; 1g5c,1g73,Cprt; 1g74,1g7z,Armi; 1g80,1g8v,Palm; 1g8w,1ga7,Nbat; 1gbk,1gcf,Hatr;
1gcg,1gdb,Phnx; 1gdc,1ge7,Lydi; 1gg0,1ggv,Mero; 1ggw,1gjj,Merc; 1gjk,1gm0,Khar; 1gm8,1gn3,Sarb;
1gn4,1gnz,Narb; 1gow,1gq9,Mani; 1gqa,1gqa,Mani Ougr; 1gqb,1gqe,Mani; 1gqo,1gsf,Avst;
1gsg,1gtb,Prti; 1gtc,1gu7,Phli; 1gu8,1gvj,Phlp; 1gxs,1gzs,Orkh; 1h1c,1h4v,Hung; 1h4w,1h6h,Rohg;
1heo,1hfi,Arab; 1hfk,1hgx,Yezi; 1hj1,1hj3,Arab; 1hj4,1hk7,Sogo; 1hkg,1hll,Sogd; 1hm8,1hmx,Ougr;
1ho0,1hor,Chrs; 1hpc,1hpy,Elym; 1hq8,1htr,Brah; 1hts,1hvx,Kthi; 1hw0,1hx5,Sora; 1hxc,1hzb,Cakm;
1hzk,1i0m,Mahj; 1i0w,1i3j,Shrd; 1i3l,1i44,Sinh; 1i4g,1i69,Khoj; 1i80,1i95,Mult; 1i9c,1ibd,Sind;
1ibk,1ibk,Gran; 1ibl,1ibl,Gran Taml; 1ibm,1ibm,Gran; 1ibn,1ibn,Gran Taml; 1ibp,1id5,Gran;
1id7,1id8,Gran Taml; 1id9,1ies,Gran; 1iio,1ild,Newa; 1im8,1iop,Tirh; 1itc,1ivx,Sidd;
1iww,1izd,Modi; 1izk,1izw,Mong; 1j0g,1j2h,Takr; 1j40,1j5y,Ahom; 1jb4,1jcr,Dogr; 1jfk,1ji7,Wara;
1ji8,1jkp,Diak; 1jmo,1jok,Nand; 1jpc,1jrb,Zanb; 1jrk,1jtu,Soyo; 1ju8,1jun,Cans; 1juo,1jw8,Pauc;
1jwg,1jwp,Deva; 1k3k,1k6k,Bhks; 1k6o,1k8m,Marc; 1kao,1kd5,Gonm; 1kdc,1kfd,Gong; 1ko0,1koo,Maka;
1kow,1krd,Kawi; 1kts,1kts,Lisu; 1ku8,1kun,Taml; 1kuo,1kup,Gran Taml; 1kuq,1kuq,Taml;
1kur,1kur,Gran Taml; 1kus,1kvz,Taml; 1kw0,1lxf,Xsux; 1nyo,1o1e,Cpmn; 1o1s,1owl,Egyp;
1s00,1sg6,Hluw; 1z40,1zjs,Bamu; 1zk0,1zlb,Mroo; 1zlc,1znt,Tnsa; 1zo0,1zp1,Bass; 1zpc,1ztb,Hmng;
20cg,20ey,Medf; 20hs,20m7,Plrd; 20o0,20o0,Tang; 20o1,20o1,Nshu; 20o2,20o3,Hani; 20o4,20o4,Kits;
20og,20oh,Hani; 20ow,260v,Tang; 260w,26dx,Kits; 26f4,26fc,Tang; 2dbk,2dc0,Kana; 2dc1,2djz,Hira;
2dk0,2dk2,Kana; 2dki,2dle,Hira; 2dlh,2dlz,Kana; 2dm8,2dx7,Nshu; 2fpc,2ftv,Dupl; 2k1s,2k3p,Grek;
2kbk,2kc1,Hani; 2l8g,2lrj,Sgnw; 2mm8,2mne,Latn; 2mtc,2mui,Glag; 2muo,2mxb,Cyrl; 2n0g,2n2n,Hmnp;
2nbk,2nce,Toto; 2ncw,2nen,Wcho; 2nrk,2nsp,Nagm; 2odc,2oe6,Ethi; 2oe8,2ok6,Mend; 2olc,2onz,Adlm;
2pkw,2prl,Arab; 2qdc,2qdc,Hira; 2qfk,2qfl,Hani; 2t4w,4er3,Hani
"""

# Characters outside ASCII, by code point in base 36, that look like ASCII letters or digits (one
# or more), and those that look like ASCII punctuation only.
LIKE_ASCII_LETTERS = """
ap ay bo bw c3 x22 br rs wuc 43j wz3 2k1y x4b f0 c7 x2i 8uk t3 yo 20jf 1jgq 3wu 1jfz cc 1jgb 8uq
tt 3xq 1jh1 2k2a 1fiq 1jgm 26b 1yi 222 2ojv f7 f6 1f6i 21z 294 1yl 2nh x2m 8ui 1jgs 1jfw 1jh2 70a
gh q9 ts pd sw 3vu 4at wku 20jk 1f34 x0z x0y 6e yd 5i yc x11 x10 2rd3 x13 x12 x15 x17 x14 x16 x19
x18 as to 3wv 41e 4a7 x4k pe sy 3xw 4c7 wk0 1f2a 1f35 1f5t 420 tn 5qc 8th u9 xwv 1fel 2rf0 1jhu
1jhl 8tg td 3xb wka 1f36 1f5u 1fdh 1fks av zl 3xj 41b wk2 3vk 4bi 4bu wk3 41z ir 6jy xte tx xp 6wv
ph t1 8xl 3vw wkw 1jfq 1jfy 1f2e xth x3t 61p 138 2k2b x3s rg 4ac wkd 1jgi 1jfm 1f2f 1f39 1fl1 gx
5tv b1 135 zw 3wg 3xv wk6 b7 xn 12o 3wi pj 8su t9 3wb 48s wkn 1f4f 703 8h h6 h5 qh uu wuf y7 xv9
3vp 1jgj s3 uw x4i ov so 3vv 425 wk9 pm 8t0 t6 3xi 4id wk7 1fko bc 14w 6qr 73x 19d 1dd 1f6o 2ojr
ba cg pl 8sy sm xs 15h 15r 17r 1je 8y7 4ht wky 20iw 1f2i 1f61 2k2y 8uo 3xa 42y wkh 20ie 1jfn 1jg2
1fdn 1fl2 169 6c6 6qt ch 168 tq iy 6gm iz po sa 8t4 t8 3w7 4c0 4ie wkf 1f3k 1f69 2rfv 12w 130 pp
8t6 wkg 1fkj 2de 2gy 2ki 2o2 1uu 21y 25i 2cm 2g6 2jq 2na 2ts 2xc 37k 19h 1dh 5qn 5qp xtp qn qr 8tb
u6 3cv 139 15t 18n 1by 1c1 1cl 2lc 36l 1fje 1jgo 1jh3 1fe4 1j4 1ye 292 9hj 1iog 1jhc pr 8ta ta 11x
8yc 3ps 274 1fia wkz 1jg5 1f2q 1f3f 1fd0 1fkm bl bk 3vo 9f 9e 6qm x1r wwp x1q wwo 704 qp 8tf u8 pt
8te tc 3xe 419 wk1 1f2t 41y 10b 12b 12e 8yd 2rcw xtz xu0 5ra 8sl tv xvl 2k2e bq 3vl 3wy 1fhw 493
wkj 20j9 wh 1jhf 1j40 x0x cd ut xwq 1jgh 1few sl 11r 3x1 3x6 wki 20je 1f2u 1fds 2rfg 6uc 7vd 2rfs
pw 8ti te 3vm wk4 20i2 1jgc 1f2v 1f3l 1f6d x0o x2v iu x3z 5r0 xu6 xua i3 qt 131 1fjq 1jh4 6qy 6v7
11p 3k0 1fim 40c wl0 20jm 1jg8 413 5t7 xur 6qw 6v5 5r4 ql vp 15k 1j46 xwp 1jgg 2k25 19j 1dj vo 8xk
3x5 3zj wyn wkm 20i0 1jfk 1fkt 2rfw hb 5r5 v5 10d 129 1j4a 1j4e 1j4f xvn 1jhr 1jhi 10c 3w3 3x0 wkq
4fi 5z 84r 84s 8bz ud 475 48t 4fh 7eb 1f6q 1jho x4j pz 8to th 8yl 4hj wkr 1f2o 1f3o 1f6f 1fl3 gz
5u4 i7 64f xui qb ub xb 3c7 1jh8 px 8tk tf xa 3vt 3wd wks 20jn 1jfo 1f3m 5r6 xw3 1jgk 1f5h 1jhh pi
3wj wkc 1jft
"""
LIKE_ASCII_PUNCTUATION = """
6co 6cp 4g0 1kq 6c0 6c2 6c3 1ck 6df k7 6qa 7ti 8u2 wla 171 19n 6ca wl5 1s3 22r 13d 1dv 1dw 4j0 4qr
4qx 6e2 14z l4 x3d 6ra k0 wl9 cj 8y9 ic g1 1vh 3vy wyz 2jxp 1dt 1du wsu 1gls 19c 1dc wl4 wl7 wl6
125 6c8 6c9 6cb 6cy 6d1 122 16b jd js ju jv l0 jf jh jg ji x3g 15l 1kk 1kl 40a 4i4 20k1 20k2 5oz
6cc 6cd 6cf 9hf 16c je l2 ku 16a 7s8 7si 9hw 1e0u 948 7s9 7sj 9hx 1e0v 949 7sk 2jv8 7sl 6dq 19p
6qf 1f6n 4l1 6dd 6qd 6dg 7e9 7uz 8ag 2k3e 9ub 9ir 8ue 9n2 fgf 8hp 8hn 6qe 7v1 8ad 8ah 2k27 2k3f
9uc fg6 8vt 762 x2w jo jq 4j1 7th 1f2z 6d5 7se jm 2k3a 3zs 4he 6sq 6vs 3y8 94w 9ls wlb 6d6 7sf jn
2k3b 3zn 20jj 8f9 6sr 8bk 6vt 6dv 6rg
"""

# Of these, what looks like one apostrophe, and what looks like two or like a double quotation mark.
LIKE_APOSTROPHE = """
125 6c8 6c9 6cb 6cy 6d1 122 16b jd js ju jv l0 jf jh jg ji x3g 15l 1kk 1kl 40a 4i4 20k1 20k2
"""
LIKE_TWO_APOSTROPHES = """
5oz 6cc 6cd 6cf 9hf 16c je l2 ku 16a
"""
