<?php

namespace App;

use App\Entity\Comment;
use App\Entity\Post;
use App\Entity\Tag;
use Doctrine\ORM\EntityManagerInterface;

/** What is asked of the content: a fixed number of queries a page. */
final class Blog
{
    public const PAGE = 10;

    public function __construct(private EntityManagerInterface $entities)
    {
    }

    /** @return list<Post> newest first, with tags and authors */
    public function posts(int $page, string $tag = ''): array
    {
        $ids = $this->entities->createQueryBuilder()
            ->select('p.id')->from(Post::class, 'p')
            ->orderBy('p.publishedAt', 'DESC')->addOrderBy('p.id', 'DESC')
            ->setFirstResult(($page - 1) * self::PAGE)->setMaxResults(self::PAGE);
        if ($tag !== '') {
            $ids->join('p.tags', 't')->where('t.name = :tag')->setParameter('tag', $tag);
        }

        return $this->withTags($ids->getQuery()->getSingleColumnResult());
    }

    /** @return list<Post> */
    public function allPosts(): array
    {
        return $this->withTags(null);
    }

    public function pages(string $tag = ''): int
    {
        $count = $this->entities->createQueryBuilder()->select('COUNT(p.id)')->from(Post::class, 'p');
        if ($tag !== '') {
            $count->join('p.tags', 't')->where('t.name = :tag')->setParameter('tag', $tag);
        }

        return max(1, (int) ceil($count->getQuery()->getSingleScalarResult() / self::PAGE));
    }

    /** @return list<string> */
    public function tagNames(): array
    {
        return $this->entities->createQuery('SELECT t.name FROM '.Tag::class.' t ORDER BY t.name')->getSingleColumnResult();
    }

    public function post(string $slug): ?Post
    {
        return $this->entities->getRepository(Post::class)->findOneBy(['slug' => $slug]);
    }

    /** @return list<array{id: int, content: string, publishedAt: \DateTimeImmutable, author: string}> oldest first */
    public function comments(Post $post): array
    {
        return $this->entities->createQuery(
            'SELECT c.id, c.content, c.publishedAt, a.fullName AS author FROM '.Comment::class.' c JOIN c.author a
            WHERE c.post = :post ORDER BY c.id'
        )->setParameter('post', $post)->getArrayResult();
    }

    /** @return array<int, int> number of comments by post */
    public function commentCounts(): array
    {
        $rows = $this->entities->createQuery(
            'SELECT IDENTITY(c.post) AS post, COUNT(c.id) AS comments FROM '.Comment::class.' c GROUP BY c.post'
        )->getArrayResult();

        return array_column($rows, 'comments', 'post');
    }

    /**
     * The tags of that text, a comma between two; those that are new come with the post.
     *
     * @return list<Tag>
     */
    public function tags(string $text): array
    {
        $names = array_unique(array_filter(array_map('trim', explode(',', mb_strtolower($text)))));
        $known = [];
        foreach ($this->entities->getRepository(Tag::class)->findBy(['name' => $names]) as $tag) {
            $known[$tag->getName()] = $tag;
        }

        return array_values(array_map(static fn (string $name): Tag => $known[$name] ?? new Tag($name), $names));
    }

    /** An address that no other post has. */
    public function slug(string $title): string
    {
        $ascii = iconv('UTF-8', 'ASCII//TRANSLIT//IGNORE', $title);
        $base = trim((string) preg_replace('/[^a-z0-9]+/', '-', strtolower((string) $ascii)), '-') ?: 'post';
        $slug = $base = substr($base, 0, 200);
        for ($i = 2; $this->post($slug) !== null; ++$i) {
            $slug = "$base-$i";
        }

        return $slug;
    }

    /**
     * @param ?list<int> $ids
     *
     * @return list<Post>
     */
    private function withTags(?array $ids): array
    {
        $query = $this->entities->createQueryBuilder()
            ->select('p', 't', 'a')->from(Post::class, 'p')->leftJoin('p.tags', 't')->join('p.author', 'a')
            ->orderBy('p.publishedAt', 'DESC')->addOrderBy('p.id', 'DESC');
        if ($ids !== null) {
            $query->where('p.id IN (:ids)')->setParameter('ids', $ids);
        }

        return $query->getQuery()->getResult();
    }
}
