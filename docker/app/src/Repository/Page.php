<?php

namespace App\Repository;

use App\Entity\Post;

/** One page of the list of posts. */
final class Page
{
    /**
     * @param list<Post>      $posts
     * @param array<int, int> $comments how many there are, by the post's id
     */
    public function __construct(
        public readonly int $number,
        public readonly int $last,
        public readonly array $posts,
        public readonly array $comments,
    ) {
    }
}
