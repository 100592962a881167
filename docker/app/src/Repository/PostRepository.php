<?php

namespace App\Repository;

use App\Entity\Post;
use App\Entity\Tag;
use App\Entity\User;
use Doctrine\ORM\EntityManagerInterface;
use Symfony\Component\String\Slugger\AsciiSlugger;

final class PostRepository
{
    public const PAGE_SIZE = 10;
    public const COMMENTS_PAGE_SIZE = 50;

    public function __construct(private EntityManagerInterface $entities)
    {
    }

    public function find(int $id): ?Post
    {
        return $this->entities->find(Post::class, $id);
    }

    public function findBySlug(string $slug): ?Post
    {
        return $this->entities->getRepository(Post::class)->findOneBy(['slug' => $slug]);
    }

    /** The newest posts first. Null, if there is no page of this number. */
    public function page(int $number, ?string $tag = null): ?Page
    {
        $query = $this->entities->createQueryBuilder()->from(Post::class, 'p');
        if ($tag !== null) {
            $query->join('p.tags', 'wanted')->andWhere('wanted.name = :tag')->setParameter('tag', $tag);
        }
        $count = (clone $query)->select('COUNT(p.id)')->getQuery()->getSingleScalarResult();
        $last = max(1, (int) ceil($count / self::PAGE_SIZE));
        if ($number < 1 || $number > $last) {
            return null;
        }
        $posts = $query->select('p', 'a')->join('p.author', 'a')
            ->orderBy('p.publishedAt', 'DESC')->addOrderBy('p.id', 'DESC')
            ->setFirstResult(($number - 1) * self::PAGE_SIZE)->setMaxResults(self::PAGE_SIZE)
            ->getQuery()->getResult();
        // The tags of all of them at once.
        $this->entities->createQuery('SELECT p, t FROM App\Entity\Post p LEFT JOIN p.tags t WHERE p IN (:posts)')
            ->setParameter('posts', $posts)->getResult();
        $comments = $this->entities->createQuery(
            'SELECT IDENTITY(c.post) AS post, COUNT(c.id) AS number FROM App\Entity\Comment c
             WHERE c.post IN (:posts) GROUP BY c.post',
        )->setParameter('posts', $posts)->getScalarResult();

        return new Page($number, $last, $posts, array_column($comments, 'number', 'post'));
    }

    /** The oldest first, so that what a page shows stays on it. Null, if there is no page of this number. */
    public function comments(Post $post, int $number): ?CommentPage
    {
        $last = $this->lastPageOfComments($post, $count);
        if ($number < 1 || $number > $last) {
            return null;
        }
        $comments = $this->entities->createQuery(
            'SELECT c.id, c.content, c.publishedAt, a.fullName AS author
             FROM App\Entity\Comment c JOIN c.author a WHERE c.post = :post ORDER BY c.id',
        )->setParameter('post', $post)
            ->setFirstResult(($number - 1) * self::COMMENTS_PAGE_SIZE)->setMaxResults(self::COMMENTS_PAGE_SIZE)
            ->getArrayResult();

        return new CommentPage($number, $last, $count, $comments);
    }

    /** @param int|null $count how many there are */
    public function lastPageOfComments(Post $post, ?int &$count = null): int
    {
        $count = (int) $this->entities->createQuery(
            'SELECT COUNT(c.id) FROM App\Entity\Comment c WHERE c.post = :post',
        )->setParameter('post', $post)->getSingleScalarResult();

        return max(1, (int) ceil($count / self::COMMENTS_PAGE_SIZE));
    }

    /** @return array<string, int> how many posts have a tag, by its name */
    public function tagsInUse(): array
    {
        return array_column($this->entities->createQuery(
            'SELECT t.name, COUNT(p.id) AS number FROM App\Entity\Post p JOIN p.tags t GROUP BY t.name ORDER BY t.name',
        )->getScalarResult(), 'number', 'name');
    }

    /** @param list<string> $tags */
    public function add(User $author, string $title, string $summary, string $content, array $tags): Post
    {
        return $this->entities->wrapInTransaction(
            function () use ($author, $title, $summary, $content, $tags): Post {
                $post = new Post($author, $this->freeSlug($title), new \DateTimeImmutable());
                $post->write($title, $summary, $content, $this->tags($tags));
                $this->entities->persist($post);

                return $post;
            },
        );
    }

    /** @param list<string> $tags */
    public function change(Post $post, string $title, string $summary, string $content, array $tags): void
    {
        $this->entities->wrapInTransaction(
            fn () => $post->write($title, $summary, $content, $this->tags($tags)),
        );
    }

    /** With its comments: the database deletes them along with it. */
    public function remove(Post $post): void
    {
        $this->entities->remove($post);
        $this->entities->flush();
    }

    private function freeSlug(string $title): string
    {
        $slug = (new AsciiSlugger('en'))->slug($title)->lower()->truncate(100)->trim('-')->toString() ?: 'post';
        for ($free = $slug, $number = 2; $this->findBySlug($free) !== null; ++$number) {
            $free = "$slug-$number";
        }

        return $free;
    }

    /**
     * Within a transaction: no other request makes a tag of the same name meanwhile.
     *
     * @param  list<string> $names
     * @return list<Tag>
     */
    private function tags(array $names): array
    {
        $repository = $this->entities->getRepository(Tag::class);

        return array_map(static fn (string $name): Tag => $repository->findOneBy(['name' => $name]) ?? new Tag($name), $names);
    }
}
