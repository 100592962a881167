<?php

namespace App\Repository;

/** One page of the comments on a post. */
final class CommentPage
{
    /** @param list<array{id: int, content: string, publishedAt: \DateTimeImmutable, author: string}> $comments */
    public function __construct(
        public readonly int $number,
        public readonly int $last,
        public readonly int $count,
        public readonly array $comments,
    ) {
    }
}
