"""Every ```cpp block of the documents that names an example is contiguous text of it (indentation apart). usage: snippets.py ROOT"""
import pathlib,re,sys
root=pathlib.Path(sys.argv[1]); wrong=n=0
norm=lambda t:[l.strip() for l in t.split('\n')]
for p in [root/'README.md',*sorted((root/'docs').rglob('*.md'))]:
    for m in re.finditer(r'<!-- text of (\S+) -->\n```cpp\n(.*?)\n```',p.read_text(),re.S):
        n+=1; have=norm((root/m[1]).read_text()); want=norm(m[2])
        if not any(have[i:i+len(want)]==want for i in range(len(have))): wrong+=1; print(p,m[1],want[0])
print(n,'snippets',wrong,'wrong'); sys.exit(wrong>0)
